"""Manifests over REST: plan, apply and export for the `placet` command and for CI, with the code of manage.py apply."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import IO, Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from audit import canonical
from registry import permissions, provenances, versions
from registry.api.exchange import View, asked, body, documented, environment, made
from registry.manifests import plan
from registry.manifests.apply import Applied, already_live, bring, propose_one, require_live
from registry.manifests.document import Manifest
from registry.manifests.export import newest
from registry.models import Version

LARGEST_PLAN = 8 * canonical.LARGEST_BODY
DEEPEST = 40  # a content nests 32 levels at most
FEW = 20  # contents on a page


class PlanParser(BaseParser):
    """Strict JSON as everywhere, but with room for the manifests of a whole workspace."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> canonical.JSON:
        return canonical.loads(stream.read(LARGEST_PLAN + 1), max_bytes=LARGEST_PLAN, max_depth=DEEPEST)


class ManifestShape(serializers.Serializer[Any]):
    kind = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=128)
    spec = serializers.DictField(help_text="The content; a pin may leave its digest out.")
    source = serializers.CharField(max_length=500, help_text="Where it stands, for messages.")  # type: ignore[assignment]
    provenance = serializers.JSONField(required=False, allow_null=True, default=None)


class NewPlan(serializers.Serializer[Any]):
    workspace = serializers.CharField(required=False, default="")
    environment = serializers.CharField(required=False, allow_null=True, default=None)
    manifests = ManifestShape(many=True)


class ChangeShape(serializers.Serializer[Any]):
    path = serializers.CharField()
    how = serializers.ChoiceField(["added", "removed", "changed"])
    added = serializers.IntegerField(help_text="Lines.")
    removed = serializers.IntegerField(help_text="Lines.")


class NeedShape(serializers.Serializer[Any]):
    kind = serializers.CharField()
    name = serializers.CharField()
    approvals = serializers.IntegerField()
    roles = serializers.ListField(child=serializers.CharField())


class FailingShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    output = serializers.CharField()


class NumberedDigest(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    digest = serializers.CharField()


class PlannedShape(serializers.Serializer[Any]):
    kind = serializers.CharField()
    name = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    digest = serializers.CharField()
    number = serializers.IntegerField(allow_null=True, help_text="Of the version that has these bytes already.")
    base = NumberedDigest(allow_null=True, help_text="The newest version.")
    live = NumberedDigest(allow_null=True, help_text="What is live where it would be proposed.")
    pins = serializers.ListField(child=serializers.DictField(), help_text="Of a release, each with its digest.")
    propose = serializers.BooleanField(help_text="It is to be proposed: it is neither live nor proposed.")
    settled = serializers.BooleanField(help_text="It is live, or approved, where it would be proposed.")
    proposal = serializers.UUIDField(allow_null=True, help_text="The open one.")
    risk = serializers.CharField()
    changes = ChangeShape(many=True)
    more_changes = serializers.IntegerField()
    failing = FailingShape(many=True)
    needs = NeedShape(many=True)
    unmapped = serializers.ListField(child=serializers.CharField())


class PlanShape(serializers.Serializer[Any]):
    workspace = serializers.SlugField()
    environment = serializers.CharField(allow_null=True)
    charter = serializers.CharField()
    manifests = PlannedShape(many=True)


class NewManifest(ManifestShape):
    workspace = serializers.CharField(required=False, default="")
    environment = serializers.CharField(required=False, allow_null=True, default=None, help_text="Propose it there.")
    base = serializers.CharField(
        required=False,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text='Digest that the newest version must have, "" for none; else 409 base_moved.',
    )
    live = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, default=None, help_text="The same of what is live there."
    )


class AppliedShape(serializers.Serializer[Any]):
    kind = serializers.CharField()
    name = serializers.CharField()
    version = serializers.UUIDField()
    number = serializers.IntegerField()
    digest = serializers.CharField()
    created = serializers.BooleanField()
    failing = serializers.ListField(child=serializers.CharField(), help_text="Admission checks.")
    proposal = serializers.UUIDField(allow_null=True)
    live = serializers.BooleanField(help_text="It is live, or approved, where it would be proposed.")


class ExportedShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    kind = serializers.CharField()
    name = serializers.CharField()
    number = serializers.IntegerField()
    digest = serializers.CharField()
    spec = serializers.SerializerMethodField()

    def get_spec(self, version: Version) -> dict[str, Any]:
        return versions.content_of(version)


class Plans(View):
    """What applying manifests would do. Nothing is stored, so a plan has no address of its own."""

    permission_classes = (permissions.MemberOrWriter,)
    scope = permissions.WRITE_SCOPE
    parser_classes = (PlanParser,)

    @documented("Plan what manifests would change", takes=NewPlan, gives=PlanShape, also=(409, 413))
    def post(self, request: Request) -> Response:
        asks = body(request, NewPlan)
        workspace = self.workspace(request, asks["workspace"])
        where = environment(workspace.pk, asks["environment"])
        manifests = [_manifest(one) for one in asks["manifests"]]
        made_plan = plan.make(workspace, manifests, where, actor=self.person(request))
        answer = {
            "workspace": workspace.slug,
            "environment": where.name if where else None,
            "charter": made_plan.charter,
            "manifests": [_planned(one) for one in made_plan.planned],
        }
        return Response(PlanShape(answer).data)


class Manifests(View):
    """The newest version of each artifact as a manifest, and new ones."""

    permission_classes = (permissions.MemberOrWriter,)
    scope = permissions.WRITE_SCOPE
    parser_classes = (PlanParser,)
    most = FEW

    @documented(
        "List the newest versions with their content",
        gives=ExportedShape,
        listed=True,
        parameters=(OpenApiParameter("kind", str),),
    )
    def get(self, request: Request) -> Response:
        rows = self.mine(request, newest())
        if "kind" in request.query_params:
            rows = rows.filter(kind=request.query_params["kind"])
        return self.page(request, rows, ExportedShape)

    @documented("Apply a manifest", takes=NewManifest, gives=AppliedShape, code=201, also=(413,))
    def post(self, request: Request) -> Response:
        asks = body(request, NewManifest)
        workspace = self.workspace(request, asks["workspace"])
        who = permissions.requester(request, scope=self.scope)
        how = {"actor": who.person, "credential": who.credential, **asked(request)}
        where = environment(workspace.pk, asks["environment"])
        manifest = _manifest(asks)
        if where is not None and not already_live(workspace, manifest, where):
            require_live(workspace, manifest.kind, manifest.name, where, asks["live"])
        applied = bring(workspace, manifest, digests={}, base=asks["base"], **how)
        if where is not None:
            applied = propose_one(applied, where, live=asks["live"], **how)
        return made(_applied(applied), created=applied.created)


def _manifest(asks: Mapping[str, Any]) -> Manifest:
    # Checked here, so that a plan refuses what applying would refuse. Identities can only add contributors: whoever
    # asks is one in any case.
    provenance = provenances.parse(asks["provenance"]) if asks["provenance"] is not None else None
    return Manifest(asks["kind"], asks["name"], None, asks["spec"], asks["source"], provenance=provenance)


def _planned(one: plan.Planned) -> dict[str, Any]:
    return {
        "kind": one.manifest.kind,
        "name": one.manifest.name,
        "source": one.manifest.source,
        "digest": one.digest,
        "number": one.version.number if one.version else None,
        "base": one.base,
        "live": one.live,
        "pins": one.content["pins"] if one.manifest.kind == "agent" else [],
        "propose": one.wanted and not one.settled and one.proposal is None,
        "settled": one.settled,
        "proposal": one.proposal.pk if one.proposal else None,
        "risk": one.risk,
        "changes": [asdict(change) for change in one.changes],
        "more_changes": one.more_changes,
        "failing": [{"name": name, "output": output} for name, output in one.failing],
        "needs": [asdict(need) for need in one.needs],
        "unmapped": one.unmapped,
    }


def _applied(one: Applied) -> dict[str, Any]:
    answer = {
        "kind": one.version.kind,
        "name": one.version.name,
        "version": one.version.pk,
        "number": one.version.number,
        "digest": one.version.digest,
        "created": one.created,
        "failing": one.failing,
        "proposal": one.proposal.pk if one.proposal else None,
        "live": one.live,
    }
    return dict(AppliedShape(answer).data)
