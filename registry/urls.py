"""Addresses of the registry below /api/v1/."""

from django.urls import path

from registry import versions
from registry.api import agreement, artifacts, discussion, live, pdps, people, signers
from registry.api.manifests import Manifests, Plans
from registry.api.tokens import AccessTokens, DeviceLogins, DeviceTokens, Me, OneAccessToken

urlpatterns = [
    path("me/", Me.as_view(), name="api-me"),
    path("access-tokens/", AccessTokens.as_view(), name="api-access-tokens"),
    path("access-tokens/<uuid:pk>/", OneAccessToken.as_view(), name="api-access-token"),
    path("device-logins/", DeviceLogins.as_view(), name="api-device-logins"),
    path("device-logins/<uuid:pk>/tokens/", DeviceTokens.as_view(), name="api-device-login-tokens"),
    path("workspaces/", people.Workspaces.as_view(), name="api-workspaces"),
    path("workspaces/<uuid:pk>/", people.OneWorkspace.as_view(), name="api-workspace"),
    path("memberships/", people.Memberships.as_view(), name="api-memberships"),
    path("memberships/<uuid:pk>/", people.OneMembership.as_view(), name="api-membership"),
    path("factor-resets/", people.FactorResets.as_view(), name="api-factor-resets"),
    path(
        "factor-resets/<uuid:pk>/confirmation/",
        people.FactorResetConfirmation.as_view(),
        name="api-factor-reset-confirmation",
    ),
    path("grants/", people.Grants.as_view(), name="api-grants"),
    path("grants/<uuid:pk>/", people.OneGrant.as_view(), name="api-grant"),
    path("grants/<uuid:pk>/confirmation/", people.Confirmation.as_view(), name="api-grant-confirmation"),
    path("environments/", people.Environments.as_view(), name="api-environments"),
    path("environments/<uuid:pk>/", people.OneEnvironment.as_view(), name="api-environment"),
    path("environments/<uuid:pk>/protection/", people.Protection.as_view(), name="api-environment-protection"),
    path("artifacts/", artifacts.Artifacts.as_view(), name="api-artifacts"),
    path("artifacts/<uuid:pk>/", artifacts.OneArtifact.as_view(), name="api-artifact"),
    path("versions/", artifacts.Versions.as_view(), name="api-versions"),
    path("versions/<uuid:pk>/", artifacts.OneVersion.as_view(), name="api-version"),
    path("versions/<uuid:pk>/contributors/", artifacts.Contributors.as_view(), name="api-version-contributors"),
    path("versions/<uuid:pk>/checks/", artifacts.Checks.as_view(), name="api-version-checks"),
    path(
        "versions/<uuid:pk>/deprecation/",
        artifacts.Ending.as_view(end=versions.deprecate),
        name="api-version-deprecation",
    ),
    path(
        "versions/<uuid:pk>/retirement/", artifacts.Ending.as_view(end=versions.retire), name="api-version-retirement"
    ),
    path(
        "versions/<uuid:pk>/revocation/", artifacts.Ending.as_view(end=versions.revoke), name="api-version-revocation"
    ),
    path("signers/", signers.Signers.as_view(), name="api-signers"),
    path("signers/<uuid:pk>/", signers.OneSigner.as_view(), name="api-signer"),
    path("signers/<uuid:pk>/confirmation/", signers.Confirmation.as_view(), name="api-signer-confirmation"),
    path("evidence/", artifacts.EvidenceList.as_view(), name="api-evidence"),
    path("plans/", Plans.as_view(), name="api-plans"),
    path("manifests/", Manifests.as_view(), name="api-manifests"),
    path("proposals/", agreement.Proposals.as_view(), name="api-proposals"),
    path("proposals/<uuid:pk>/", agreement.OneProposal.as_view(), name="api-proposal"),
    path("proposals/<uuid:pk>/withdrawal/", agreement.Withdrawal.as_view(), name="api-proposal-withdrawal"),
    path("proposals/<uuid:pk>/approvals/", agreement.Approvals.as_view(), name="api-proposal-approvals"),
    path("proposals/<uuid:pk>/comments/", discussion.Comments.as_view(), name="api-proposal-comments"),
    path("comments/<uuid:pk>/resolutions/", discussion.Resolutions.as_view(), name="api-comment-resolutions"),
    path("approvals/<uuid:pk>/withdrawal/", agreement.ApprovalWithdrawal.as_view(), name="api-approval-withdrawal"),
    path("slots/", live.Slots.as_view(), name="api-slots"),
    path("slots/<uuid:pk>/", live.OneSlot.as_view(), name="api-slot"),
    path("slots/<uuid:pk>/history/", live.SlotPast.as_view(), name="api-slot-history"),
    path("activations/", live.Activations.as_view(), name="api-activations"),
    path("activations/<uuid:pk>/", live.OneActivation.as_view(), name="api-activation"),
    path("activations/<uuid:pk>/review/", live.ActivationReview.as_view(), name="api-activation-review"),
    path("stops/", live.Stops.as_view(), name="api-stops"),
    path("stops/<uuid:pk>/", live.OneStop.as_view(), name="api-stop"),
    path("pdps/", pdps.Pdps.as_view(), name="api-pdps"),
    path("pdp-credentials/", pdps.PdpCredentials.as_view(), name="api-pdp-credentials"),
    path("pdp-credentials/<uuid:pk>/", pdps.OnePdpCredential.as_view(), name="api-pdp-credential"),
    path("pdp-credentials/<uuid:pk>/rotations/", pdps.PdpRotations.as_view(), name="api-pdp-credential-rotations"),
    path(
        "pdp-credentials/<uuid:pk>/revocations/", pdps.PdpRevocations.as_view(), name="api-pdp-credential-revocations"
    ),
]
