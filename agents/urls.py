"""Addresses of the executor under /api/v1/."""

from django.urls import path

from agents import api

urlpatterns = [
    path("runs/", api.RunsView.as_view(), name="runs-api"),
    path("runs/<uuid:run>/", api.RunView.as_view(), name="run-api"),
    path("runs/<uuid:run>/cancellations/", api.CancellationsView.as_view(), name="run-cancellations"),
    path("steps/<uuid:step>/requeues/", api.RequeuesView.as_view(), name="step-requeues"),
]
