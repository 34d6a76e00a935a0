"""Placet's addresses and the anchor's beside them, behind the same middleware and in the same web processes."""

from django.urls import include, path

from benchmarks import bare

urlpatterns = [path("bare/", bare.insert), path("", include("config.urls"))]
handler400 = "config.errors.bad_request"
handler403 = "config.errors.forbidden"
handler404 = "config.errors.not_found"
handler500 = "config.errors.server_error"
