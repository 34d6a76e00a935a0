"""Addresses of the log in the form of c2sp.org/tlog-tiles, below /log/."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
