"""Addresses of the registry below /api/v1/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
