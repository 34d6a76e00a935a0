"""Addresses of the log in the form of c2sp.org/tlog-tiles, below /log/."""

from django.urls import path

from audit import log_api

urlpatterns = [
    path("<slug:workspace>/checkpoint", log_api.LogCheckpointView.as_view(), name="log-checkpoint"),
    path("<slug:workspace>/tile/entries/<path:place>", log_api.LogEntriesView.as_view(), name="log-entries"),
    path("<slug:workspace>/tile/<str:level>/<path:place>", log_api.LogTileView.as_view(), name="log-tile"),
]
