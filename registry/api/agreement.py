"""Proposals and approvals."""

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from audit.refusal import Refusal
from registry import approvals, permissions, proposals
from registry.api.artifacts import VersionShape
from registry.api.exchange import IF_MATCH, Empty, View, asked, body, decided, documented, environment, made
from registry.models import Approval, Proposal, Role, Version


class ApprovalShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    proposal = serializers.UUIDField(source="proposal_id")
    version = serializers.UUIDField(source="version_id")
    digest = serializers.CharField()
    approver = serializers.UUIDField(source="approver_id")
    username = serializers.CharField(source="approver.username")
    role = serializers.ChoiceField(Role.choices)
    verdict = serializers.ChoiceField(Approval.Verdict.choices)
    comment = serializers.CharField()
    at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    withdrawn_at = serializers.DateTimeField(allow_null=True)


class ProposalShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    environment = serializers.CharField(source="environment.name", default=None, allow_null=True)
    version = VersionShape()
    proposer = serializers.UUIDField(source="proposer_id")
    state = serializers.CharField()
    reason = serializers.CharField()
    opened_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    concluded_at = serializers.DateTimeField(allow_null=True)
    charter_digest = serializers.CharField()


class MissingShape(serializers.Serializer[Any]):
    code = serializers.CharField()
    version = serializers.CharField(help_text="Digest of what it concerns.")
    detail = serializers.CharField()


class WholeProposal(ProposalShape):
    approvals = ApprovalShape(many=True)
    missing = serializers.SerializerMethodField()

    def get_missing(self, proposal: Proposal) -> list[dict[str, str]]:
        if proposal.state not in ("open", "approved"):
            return []
        return [MissingShape(each).data for each in approvals.missing(proposal)]


class NewProposal(serializers.Serializer[Any]):
    version = serializers.UUIDField()
    environment = serializers.CharField(required=False, allow_null=True, default=None)
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=10_000)


class NewApproval(serializers.Serializer[Any]):
    verdict = serializers.ChoiceField(Approval.Verdict.choices, default=Approval.Verdict.APPROVE)
    role = serializers.CharField(required=False, allow_null=True, default=None)
    comment = serializers.CharField(required=False, allow_blank=True, default="", max_length=10_000)
    digest = serializers.CharField(required=False, help_text="Instead of If-Match.")


ROWS = Proposal.objects.select_related("workspace", "environment", "version__lifecycle", "version__workspace")


class Proposals(View):
    """Requests to approve a version for an environment."""

    permission_classes = (permissions.MemberOrWriter,)
    scope = permissions.WRITE_SCOPE

    @documented(
        "List proposals",
        gives=ProposalShape,
        listed=True,
        parameters=(OpenApiParameter("state", str), OpenApiParameter("environment", str)),
    )
    def get(self, request: Request) -> Response:
        rows = self.mine(request, ROWS.defer("version__content"))
        for parameter, column in (("state", "state"), ("environment", "environment__name")):
            if parameter in request.query_params:
                rows = rows.filter(**{column: request.query_params[parameter]})
        return self.page(request, rows, ProposalShape)

    @documented("Propose a version", takes=NewProposal, gives=WholeProposal, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewProposal)
        version = self.row(request, Version.objects.all(), asks["version"], "version")
        who = permissions.requester(request, scope=self.scope)
        where = environment(version.workspace_id, asks["environment"])
        before = set(Proposal.objects.filter(version=version).values_list("pk", flat=True))
        proposal = proposals.open(
            version,
            where,
            proposer=who.person,
            credential=who.credential,
            reason=asks["reason"],
            **asked(request),
        )
        return _tagged(made(WholeProposal(proposal).data, created=proposal.pk not in before), proposal)


class OneProposal(View):
    """One proposal: what it lacks, and who said what."""

    permission_classes = (permissions.MemberOrWriter,)
    scope = permissions.WRITE_SCOPE

    @documented("Read a proposal", gives=WholeProposal)
    def get(self, request: Request, pk: UUID) -> Response:
        proposal = self.row(request, ROWS, pk, "proposal")
        return _tagged(Response(WholeProposal(proposal).data), proposal)


class Withdrawal(View):
    """The end of a proposal by its proposer."""

    @documented("Withdraw a proposal", takes=Empty, gives=WholeProposal, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        proposal = self.row(request, ROWS, pk, "proposal")
        proposals.withdraw(proposal, actor=self.person(request), **asked(request))
        return made(WholeProposal(ROWS.get(pk=pk)).data)


class Approvals(View):
    """Verdicts on one proposal, each bound to the digest that was looked at."""

    @documented("List approvals of a proposal", gives=ApprovalShape, listed=True)
    def get(self, request: Request, pk: UUID) -> Response:
        proposal = self.row(request, ROWS, pk, "proposal")
        return self.page(request, proposal.approvals.select_related("approver"), ApprovalShape)

    @documented(
        "Approve, ask for changes or reject",
        takes=NewApproval,
        gives=ApprovalShape(many=True),
        code=201,
        also=(412, 428),
        parameters=(IF_MATCH,),
    )
    def post(self, request: Request, pk: UUID) -> Response:
        proposal = self.row(request, ROWS, pk, "proposal")
        asks = body(request, NewApproval)
        says = {
            "approver": self.person(request),
            "digest": _digest(request, asks),
            "role": asks["role"],
            "comment": asks["comment"],
            **decided(request),
        }
        if asks["verdict"] != Approval.Verdict.APPROVE:
            say = approvals.reject if asks["verdict"] == Approval.Verdict.REJECT else approvals.request_changes
            return made(ApprovalShape([say(proposal, **says)], many=True).data)
        page = reverse("pages:proposal", args=[proposal.workspace.slug, proposal.pk])
        permissions.require_browser(request, proposal.environment, page)
        return made(ApprovalShape(approvals.approve(proposal, **says), many=True).data)


class ApprovalWithdrawal(View):
    """Taking back what one approved in a proposal, until activation."""

    @documented("Withdraw one's approval", takes=Empty, gives=ApprovalShape(many=True), code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = Approval.objects.select_related("proposal").filter(pk=pk).first()
        self.row(request, Proposal.objects.all(), row.proposal_id if row else pk, "approval")
        rows = approvals.withdraw(
            Approval.objects.select_related("proposal").get(pk=pk), actor=self.person(request), **asked(request)
        )
        return made(ApprovalShape(rows, many=True).data)


def _digest(request: Request, asks: dict[str, Any]) -> str:
    """Return the digest that the caller looked at. :raises Refusal: precondition_missing (428)."""
    given = request.headers.get("If-Match", "").removeprefix("W/").strip('"') or asks.get("digest")
    if not given or given == "*":
        detail = "Send the digest that you reviewed in If-Match, as the ETag of the proposal gives it."
        raise Refusal("precondition_missing", detail, status=428, field="If-Match")
    return str(given)


def _tagged(response: Response, proposal: Proposal) -> Response:
    response.headers["ETag"] = f'"{proposal.version.digest}"'
    return response
