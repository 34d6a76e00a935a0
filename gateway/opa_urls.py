"""The address of the gateway below /opa/."""

from django.urls import path

from gateway.api import opa

urlpatterns = [path("logs/<slug:workspace>/<slug:environment>", opa.LogsView.as_view(), name="opa-logs")]
