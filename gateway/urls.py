"""Addresses of the gateway under /api/v1/."""

from django.urls import path

from gateway.api import breakers, calls, credentials, holds, opa, sessions, states, stops, trusts

urlpatterns = [
    path("tool-calls/", calls.tool_calls, name="tool-calls"),
    path("tool-calls/<uuid:call>/", calls.ToolCallView.as_view(), name="tool-call"),
    path("tool-calls/<uuid:call>/settlements/", calls.SettlementsView.as_view(), name="tool-call-settlements"),
    path("sessions/", sessions.SessionsView.as_view(), name="sessions"),
    path("sessions/<uuid:session>/", sessions.SessionView.as_view(), name="session"),
    path("sessions/<uuid:session>/closures/", sessions.ClosuresView.as_view(), name="session-closures"),
    path("credentials/", credentials.CredentialsView.as_view(), name="credentials"),
    path("credentials/<uuid:credential>/", credentials.CredentialView.as_view(), name="credential"),
    path("credentials/<uuid:credential>/rotations/", credentials.RotationsView.as_view(), name="credential-rotations"),
    path(
        "credentials/<uuid:credential>/revocations/",
        credentials.RevocationsView.as_view(),
        name="credential-revocations",
    ),
    path("trusts/", trusts.TrustsView.as_view(), name="trusts"),
    path("trusts/<uuid:trust>/", trusts.TrustView.as_view(), name="trust"),
    path("trusts/<uuid:trust>/revocations/", trusts.RevocationsView.as_view(), name="trust-revocations"),
    path("trusts/<uuid:trust>/credentials/", trusts.CredentialsView.as_view(), name="trust-credentials"),
    path("states/", states.StatesView.as_view(), name="states"),
    path("states/<str:key>/", states.StateView.as_view(), name="state"),
    path("breakers/", breakers.BreakersView.as_view(), name="breakers"),
    path("breakers/<uuid:breaker>/", breakers.BreakerView.as_view(), name="breaker"),
    path("breakers/<uuid:breaker>/resets/", breakers.ResetsView.as_view(), name="breaker-resets"),
    path("stops/<uuid:stop>/report/", stops.ReportView.as_view(), name="stop-report"),
    path("holds/", holds.HoldsView.as_view(), name="holds"),
    path("holds/<uuid:hold>/", holds.HoldView.as_view(), name="hold"),
    path("holds/<uuid:hold>/approvals/", holds.ApprovalsView.as_view(), name="hold-approvals"),
    path("holds/<uuid:hold>/rejections/", holds.RejectionsView.as_view(), name="hold-rejections"),
    path("alarms/", opa.AlarmsView.as_view(), name="alarms"),
]
