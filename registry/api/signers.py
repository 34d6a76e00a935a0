"""Keys whose signed statements about versions count."""

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from registry import signers
from registry.api.exchange import Empty, View, asked, body, decided, documented, gone, made
from registry.models import Signer


class SignerShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    name = serializers.CharField()
    public_key = serializers.CharField()
    fingerprint = serializers.CharField()
    added_by = serializers.UUIDField(source="added_by_id")
    added_at = serializers.DateTimeField()
    confirmed_by = serializers.UUIDField(source="confirmed_by_id", allow_null=True)
    confirmed_at = serializers.DateTimeField(allow_null=True)
    revoked_by = serializers.UUIDField(source="revoked_by_id", allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewSigner(serializers.Serializer[Any]):
    workspace = serializers.CharField()
    name = serializers.CharField(max_length=200)
    public_key = serializers.CharField(max_length=2000, help_text="PEM: Ed25519, or ECDSA on P-256.")


class Signers(View):
    """The keys that a workspace believes, and those that it did."""

    @documented("List signers", gives=SignerShape, listed=True)
    def get(self, request: Request) -> Response:
        return self.page(request, self.mine(request, Signer.objects.select_related("workspace")), SignerShape)

    @documented("Add a signer's key", takes=NewSigner, gives=SignerShape, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewSigner)
        workspace = self.workspace(request, asks["workspace"])
        known = set(Signer.objects.filter(workspace=workspace, revoked_at=None).values_list("pk", flat=True))
        row = signers.add(
            workspace,
            name=asks["name"],
            public_key=asks["public_key"],
            actor=self.person(request),
            **asked(request),
        )
        return made(SignerShape(row).data, created=row.pk not in known)


class OneSigner(View):
    """One signer; deleting it revokes its key. The row stays."""

    rows = Signer.objects.select_related("workspace")

    @documented("Read a signer", gives=SignerShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(SignerShape(self.row(request, self.rows.all(), pk, "signer")).data)

    @documented("Revoke a signer's key", takes=Empty, code=204)
    def delete(self, request: Request, pk: UUID) -> Response:
        signers.revoke(self.row(request, self.rows.all(), pk, "signer"), actor=self.person(request), **asked(request))
        return gone()


class Confirmation(View):
    """The second admin's agreement."""

    @documented("Confirm a signer's key", takes=Empty, gives=SignerShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = self.row(request, OneSigner.rows.all(), pk, "signer")
        before = row.confirmed_at
        row = signers.confirm(row, actor=self.person(request), **decided(request))
        return made(SignerShape(row).data, created=before is None)
