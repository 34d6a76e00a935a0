"""Pages for people: every address of a workspace begins with /w/<slug>/."""

from django.urls import URLPattern, URLResolver, include, path

from agents import views as agents
from config.pages import changes, exports, reasons, search, trail, views
from gateway.views import calls, holds, stops
from registry.views import authoring, catalogue, comments, endings, proposals, queue, releases
from registry.views.devices import access_tokens, device, revocation

app_name = "pages"
WORKSPACE: list[URLPattern | URLResolver] = [
    path("", views.home, name="home"),
    path("environment/", views.environment, name="environment"),
    path("search/", search.search, name="search"),
    path("proposals/", queue.queue, name="proposals"),
    path("proposals/<uuid:pk>/", proposals.proposal, name="proposal"),
    path("proposals/<uuid:pk>/verdict/", proposals.verdict, name="proposal-verdict"),
    path("proposals/<uuid:pk>/withdrawal/", proposals.withdrawal, name="proposal-withdrawal"),
    path("proposals/<uuid:pk>/activation/", releases.activation, name="proposal-activation"),
    path("proposals/<uuid:pk>/comments/", comments.comment, name="proposal-comments"),
    path("comments/<uuid:pk>/resolution/", comments.resolution, name="comment-resolution"),
    path("approvals/<uuid:pk>/withdrawal/", proposals.approval_withdrawal, name="approval-withdrawal"),
    path("holds/", holds.queue, name="holds"),
    path("holds/<uuid:pk>/", holds.hold, name="hold"),
    path("holds/<uuid:pk>/verdict/", holds.verdict, name="hold-verdict"),
    path("stops/", stops.stop_list, name="stops"),
    path("stops/<uuid:pk>/", stops.stop, name="stop"),
    path("stops/<uuid:pk>/lifting/", stops.lifting, name="stop-lifting"),
    path("releases/", releases.releases, name="releases"),
    path("activations/<uuid:pk>/review/", releases.review, name="activation-review"),
    path("artifacts/", catalogue.artifacts, name="artifacts"),
    path("artifacts/<slug:kind>/<str:name>/", catalogue.artifact, name="artifact"),
    path("artifacts/<slug:kind>/<str:name>/<int:number>/", catalogue.version, name="version"),
    path("artifacts/<slug:kind>/<str:name>/<int:number>/edition/", authoring.edition, name="version-edition"),
    path("artifacts/<slug:kind>/<str:name>/<int:number>/proposals/", proposals.opened, name="proposals-of"),
    path("artifacts/<slug:kind>/<str:name>/<int:number>/lifecycle/", endings.lifecycle, name="version-lifecycle"),
    path("artifacts/<slug:kind>/<str:name>/<int:number>/rollback/", endings.rollback, name="version-rollback"),
    path("artifacts/<slug:kind>/<str:name>/<int:number>/checks/", endings.checks, name="version-checks"),
    path("artifacts/<slug:kind>/<str:name>/<int:number>/contributors/", endings.identity, name="version-identity"),
    path("calls/", calls.calls, name="calls"),
    path("calls/<uuid:pk>/", calls.call, name="call"),
    path("calls/reasons/", reasons.reasons, name="reasons"),
    path("calls/<uuid:pk>/disclosure/", calls.disclosed, name="call-disclosure"),
    path("calls/<uuid:pk>/settlement/", calls.settled, name="call-settlement"),
    path("runs/", agents.run_list, name="runs"),
    path("runs/<uuid:pk>/", agents.run, name="run"),
    path("runs/<uuid:pk>/cancellation/", agents.cancellation, name="run-cancellation"),
    path("steps/<uuid:pk>/requeue/", agents.requeue, name="step-requeue"),
    path("trail/", trail.trail, name="trail"),
    path("trail/<uuid:pk>/", trail.record, name="record"),
    path("trail/inspections/", exports.inspection, name="inspections"),
    path("trail/exports/", exports.create, name="exports"),
    path("trail/exports/<uuid:pk>/", exports.export, name="export"),
    path("trail/exports/<uuid:pk>/content/", exports.content, name="export-content"),
    path("settings/", views.settings, name="settings"),
    path("changes/<slug:kind>/<uuid:pk>/", changes.changes, name="changes"),
]
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.start, name="start"),
    path("device/", device, name="device"),
    path("access-tokens/", access_tokens, name="access-tokens"),
    path("access-tokens/<uuid:pk>/revocation/", revocation, name="access-token-revocation"),
    path("theme/", views.theme, name="theme"),
    path("w/<slug:slug>/", include(WORKSPACE)),
]
