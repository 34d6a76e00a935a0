"""Addresses for OPA servers, below /opa/. The gateway adds the one for decision logs."""

from django.urls import path

from registry.api import opa

urlpatterns = [
    path("bundles/<slug:workspace>/<slug:environment>", opa.BundleView.as_view(), name="opa-bundle"),
    path("status/<slug:workspace>/<slug:environment>", opa.StatusView.as_view(), name="opa-status"),
]
