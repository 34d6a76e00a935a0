"""Addresses of the trail below /api/v1/."""

from django.urls import path

from audit import api

urlpatterns = [
    path("records/", api.RecordsView.as_view(), name="records"),
    path("records/<uuid:record>/", api.RecordView.as_view(), name="record"),
    path("records/<uuid:record>/proof/", api.RecordProofView.as_view(), name="record-proof"),
    path("checkpoints/", api.CheckpointsView.as_view(), name="checkpoints"),
    path("checkpoints/<uuid:checkpoint>/", api.CheckpointView.as_view(), name="checkpoint"),
    path("checkpoints/<uuid:checkpoint>/consistency/", api.ConsistencyView.as_view(), name="checkpoint-consistency"),
    path("exports/", api.ExportsView.as_view(), name="exports"),
    path("exports/<uuid:export>/", api.ExportView.as_view(), name="export"),
    path("exports/<uuid:export>/content/", api.ExportContentView.as_view(), name="export-content"),
]
