"""Decision points: what they serve, and the credentials with which they ask."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry import pdp_credentials, pdps, workspaces
from registry.api.exchange import Empty, View, asked, body, decided, documented
from registry.models import PdpCredential


class PdpShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="environment.workspace.slug")
    environment = serializers.SlugField(source="environment.name")
    kind = serializers.CharField()
    name = serializers.CharField()
    version = serializers.CharField(help_text="Of the engine.")
    revision = serializers.CharField(help_text="The bundle that it serves.")
    current = serializers.BooleanField(help_text="It serves the newest bundle.")
    fresh = serializers.BooleanField(help_text="It was heard of within 30 s: activations wait for it.")
    last_seen = serializers.DateTimeField()
    problem = serializers.CharField(help_text="Why it has not taken the newest bundle.")


class PdpKeyShape(serializers.Serializer[Any]):
    prefix = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)


class PdpCredentialShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    environment = serializers.SlugField(source="environment.name")
    kind = serializers.CharField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)
    keys = PdpKeyShape(source="keys.all", many=True)


class PdpCredentialMade(PdpCredentialShape):
    key = serializers.CharField(help_text="Told once.")


class NewPdpCredential(serializers.Serializer[Any]):
    workspace = serializers.CharField()
    environment = serializers.CharField()
    name = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)
    expires_at = serializers.DateTimeField()


class NewPdpKey(serializers.Serializer[Any]):
    expires_at = serializers.DateTimeField()
    overlap_seconds = serializers.IntegerField(default=86_400, min_value=0, max_value=30 * 86_400)


class Pdps(View):
    """Which decision point serves which bundle."""

    @documented("List decision points", gives=PdpShape, listed=True)
    def get(self, request: Request) -> Response:
        return self.page(request, self.mine(request, pdps.shown(), "environment__workspace"), PdpShape)


class PdpCredentials(View):
    """Credentials of decision points."""

    rows = PdpCredential.objects.select_related("workspace", "environment").prefetch_related("keys")

    @documented("List credentials of decision points", gives=PdpCredentialShape, listed=True)
    def get(self, request: Request) -> Response:
        return self.page(request, self.mine(request, self.rows.all()), PdpCredentialShape)

    @documented("Make a credential for decision points", takes=NewPdpCredential, gives=PdpCredentialMade, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewPdpCredential)
        workspace = self.workspace(request, asks["workspace"])
        place = workspaces.environment(workspace.pk, asks["environment"])
        how = {"name": asks["name"], "expires_at": asks["expires_at"], "actor": self.person(request)}
        row, key = pdp_credentials.create(place, **how, **decided(request))
        return _secret(self.rows.get(pk=row.pk), key)


class OnePdpCredential(View):
    """One credential of decision points."""

    @documented("Read a credential of decision points", gives=PdpCredentialShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(PdpCredentialShape(self.row(request, PdpCredentials.rows.all(), pk, "credential")).data)


class PdpRotations(View):
    """A new key; the older ones end after an overlap."""

    @documented("Rotate a credential of decision points", takes=NewPdpKey, gives=PdpCredentialMade, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = self.row(request, PdpCredentials.rows.all(), pk, "credential")
        asks = body(request, NewPdpKey)
        overlap = timedelta(seconds=asks["overlap_seconds"])
        how = {"expires_at": asks["expires_at"], "overlap": overlap, "actor": self.person(request)}
        key = pdp_credentials.rotate(row, **how, **decided(request))
        return _secret(PdpCredentials.rows.get(pk=pk), key)


class PdpRevocations(View):
    """The end of a credential, for good."""

    @documented("Revoke a credential of decision points", takes=Empty, gives=PdpCredentialShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = self.row(request, PdpCredentials.rows.all(), pk, "credential")
        pdp_credentials.revoke(row, actor=self.person(request), **asked(request))
        return Response(PdpCredentialShape(PdpCredentials.rows.get(pk=pk)).data, status=201)


def _secret(row: PdpCredential, key: str) -> Response:
    response = Response(dict(PdpCredentialShape(row).data) | {"key": key}, status=201)
    response.headers["Cache-Control"] = "no-store"
    return response
