"""Artifacts and their versions."""

from typing import Any, get_args
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from audit.refusal import Refusal
from registry import contributors, memberships, permissions, statements, versions
from registry.api.exchange import Empty, View, asked, body, documented, made
from registry.models import Artifact, Contributor, Evidence, Person, Role, Version


class ArtifactShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    kind = serializers.CharField()
    name = serializers.CharField()
    count = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class VersionShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    artifact = serializers.UUIDField(source="artifact_id")
    kind = serializers.CharField()
    name = serializers.CharField()
    number = serializers.IntegerField()
    digest = serializers.CharField()
    state = serializers.CharField(source="lifecycle.state")
    created_at = serializers.DateTimeField()


class ContributorShape(serializers.Serializer[Any]):
    person = serializers.UUIDField(source="person_id", allow_null=True)
    identity = serializers.CharField()
    how = serializers.CharField()
    at = serializers.DateTimeField()


class CheckShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    passed = serializers.BooleanField()
    output = serializers.CharField()
    at = serializers.DateTimeField()


class ProvenanceShape(serializers.Serializer[Any]):
    by = serializers.UUIDField(source="by_id")
    at = serializers.DateTimeField()
    repository = serializers.CharField()
    commit = serializers.CharField()
    path = serializers.CharField()
    builder = serializers.CharField()
    identities = serializers.JSONField()
    materials = serializers.JSONField()
    statements = serializers.JSONField()
    parents = serializers.JSONField()


class StatementShape(serializers.Serializer[Any]):
    predicate_type = serializers.CharField()
    signature = serializers.ChoiceField(get_args(statements.Verdict), source="verdict")
    signer = serializers.UUIDField(source="signer.pk", default=None, allow_null=True)
    at = serializers.DateTimeField()


class WholeVersion(VersionShape):
    content = serializers.SerializerMethodField()
    contributors = ContributorShape(many=True)
    checks = CheckShape(many=True)
    provenance = ProvenanceShape(many=True)
    statements = serializers.SerializerMethodField()

    def get_content(self, version: Version) -> dict[str, Any]:
        return versions.content_of(version)

    @extend_schema_field(StatementShape(many=True))
    def get_statements(self, version: Version) -> Any:
        return StatementShape(statements.read([version]).get(version.pk, []), many=True).data


class NewVersion(serializers.Serializer[Any]):
    workspace = serializers.CharField(required=False, default="")
    kind = serializers.CharField()
    name = serializers.CharField()
    content = serializers.JSONField()
    provenance = serializers.JSONField(required=False, allow_null=True, default=None)


class ReasonGiven(serializers.Serializer[Any]):
    reason = serializers.CharField()


class LifecycleShape(serializers.Serializer[Any]):
    version = serializers.UUIDField(source="version_id")
    state = serializers.CharField()
    changed_at = serializers.DateTimeField()


class Identity(serializers.Serializer[Any]):
    identity = serializers.CharField()
    username = serializers.CharField()


class EvidenceShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    version = serializers.UUIDField(source="version_id")
    environment = serializers.CharField(source="environment.name", default=None, allow_null=True)
    kind = serializers.CharField()
    digest = serializers.CharField()
    at = serializers.DateTimeField()


class Artifacts(View):
    """Names under which versions are kept."""

    @documented(
        "List artifacts",
        gives=ArtifactShape,
        listed=True,
        parameters=(OpenApiParameter("kind", str), OpenApiParameter("name", str)),
    )
    def get(self, request: Request) -> Response:
        rows = self.mine(request, Artifact.objects.select_related("workspace"))
        return self.page(request, _filtered(request, rows, "kind", "name"), ArtifactShape)


class OneArtifact(View):
    """One artifact."""

    @documented("Read an artifact", gives=ArtifactShape)
    def get(self, request: Request, pk: UUID) -> Response:
        rows = Artifact.objects.select_related("workspace")
        return Response(ArtifactShape(self.row(request, rows, pk, "artifact")).data)


class Versions(View):
    """Versions. The same content again is the same version."""

    permission_classes = (permissions.MemberOrWriter,)
    scope = permissions.WRITE_SCOPE

    @documented(
        "List versions",
        gives=VersionShape,
        listed=True,
        parameters=tuple(OpenApiParameter(name, str) for name in ("kind", "name", "digest")),
    )
    def get(self, request: Request) -> Response:
        rows = self.mine(request, Version.objects.select_related("workspace", "lifecycle").defer("content"))
        return self.page(request, _filtered(request, rows, "kind", "name", "digest"), VersionShape)

    @documented("Store a version", takes=NewVersion, gives=WholeVersion, code=201, also=(413,))
    def post(self, request: Request) -> Response:
        asks = body(request, NewVersion)
        workspace = self.workspace(request, asks["workspace"])
        who = permissions.requester(request, scope=self.scope)
        version = versions.create(
            workspace,
            kind=asks["kind"],
            name=asks["name"],
            content=asks["content"],
            actor=who.person,
            credential=who.credential,
            provenance=asks["provenance"],
            **asked(request),
        )
        return _tagged(made(WholeVersion(version).data, created=version.stored), version)


class OneVersion(View):
    """One version with its content, and everything that is known about it."""

    permission_classes = (permissions.MemberOrWriter,)
    scope = permissions.WRITE_SCOPE

    @documented("Read a version", gives=WholeVersion)
    def get(self, request: Request, pk: UUID) -> Response:
        rows = Version.objects.select_related("workspace", "lifecycle")
        version = self.row(request, rows, pk, "version")
        return _tagged(Response(WholeVersion(version).data), version)


class Ending(View):
    """An end in the life of a version; the address says which."""

    end = staticmethod(versions.deprecate)

    @documented("Deprecate, retire or revoke a version", takes=ReasonGiven, gives=LifecycleShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        version = self.row(request, Version.objects.select_related("lifecycle").defer("content"), pk, "version")
        before = version.lifecycle.state
        reason = body(request, ReasonGiven)["reason"]
        row = self.end(version, actor=self.person(request), reason=reason, **asked(request))
        return made(LifecycleShape(row).data, created=row.state != before)


class Contributors(View):
    """Who had a hand in a version."""

    @documented("List contributors", gives=ContributorShape, listed=True)
    def get(self, request: Request, pk: UUID) -> Response:
        version = self.row(request, Version.objects.defer("content"), pk, "version")
        return self.page(request, Contributor.objects.filter(version=version), ContributorShape)

    @documented("Say who an unknown commit identity is", takes=Identity, gives=ContributorShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        version = self.row(request, Version.objects.defer("content"), pk, "version")
        asks = body(request, Identity)
        actor = self.person(request)
        memberships.require(actor, version.workspace_id, [Role.ADMIN])
        person = Person.objects.filter(username=asks["username"]).first()
        if person is None:
            raise Refusal("person_unknown", "Nobody has this username.", field="username")
        row = contributors.identify(version, asks["identity"], person, actor=actor, **asked(request))
        return made(ContributorShape(row).data)


class Checks(View):
    """The admission checks of a version, the latest last."""

    @documented("List admission checks", gives=CheckShape, listed=True)
    def get(self, request: Request, pk: UUID) -> Response:
        version = self.row(request, Version.objects.defer("content"), pk, "version")
        return self.page(request, version.checks.all(), CheckShape)

    @documented("Run the admission checks again", takes=Empty, gives=CheckShape(many=True), code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        version = self.row(request, Version.objects.all(), pk, "version")
        rows = versions.check_again(version, actor=self.person(request), **asked(request))
        return made(CheckShape(rows, many=True).data)


class EvidenceList(View):
    """Evidence about versions."""

    @documented("List evidence", gives=EvidenceShape, listed=True, parameters=(OpenApiParameter("version", UUID),))
    def get(self, request: Request) -> Response:
        rows = self.mine(request, Evidence.objects.select_related("environment"), "version__workspace")
        return self.page(request, _filtered(request, rows, "version"), EvidenceShape)


def _filtered(request: Request, rows: Any, *names: str) -> Any:
    for name in names:
        value = request.query_params.get(name)
        if value is not None:
            rows = rows.filter(**{name: _id(value, name) if name == "version" else value})
    return rows


def _id(value: str, name: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise Refusal("id_invalid", f"{name} is a UUID.", field=name) from error


def _tagged(response: Response, version: Version) -> Response:
    response.headers["ETag"] = f'"{version.digest}"'
    return response
