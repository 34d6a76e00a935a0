"""Addresses of the trail below /api/v1/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
