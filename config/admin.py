"""The back office shows no secret: allauth's own pages for its rows, which would, are taken out."""

from django.apps import apps
from django.contrib import admin

for model in list(admin.site._registry):
    if apps.get_app_config(model._meta.app_label).name.startswith("allauth"):
        admin.site.unregister(model)
