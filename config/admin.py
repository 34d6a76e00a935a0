"""The whole of the back office: what belongs to a workspace is shown there, and nothing that could hold a secret.

Rows of Django, of allauth and of a person alone (tokens, logins of devices) have no workspace and are not shown.
"""

from django.apps import apps
from django.contrib import admin

from registry.admin import ReadOnly
from registry.back_office import OURS, way

for model in list(admin.site._registry):
    if model._meta.app_label not in OURS or way(model) is None:
        admin.site.unregister(model)
for model in apps.get_models():
    ours = model._meta.app_label in OURS and not model.__name__.startswith("Historical")
    if ours and way(model) and not admin.site.is_registered(model):
        admin.site.register(model, ReadOnly)
