"""Makes our site the back office of Django."""

from django.contrib.admin.apps import AdminConfig


class BackOffice(AdminConfig):
    """django.contrib.admin with the site of registry.back_office."""

    default_site = "registry.back_office.Site"
