"""Access tokens of the person who asks, the logins by which devices get one, and who that person is."""

from typing import Any
from uuid import UUID

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.urls import reverse
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from registry import devices, memberships, permissions, tokens
from registry.api.exchange import Empty, View, asked, body, documented, gone, made
from registry.models import AccessToken, Membership


class AccessTokenShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class WorkspaceHeld(serializers.Serializer[Any]):
    slug = serializers.SlugField()
    name = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField(), help_text="Held anywhere in it.")


class MeShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    username = serializers.CharField()
    name = serializers.CharField()
    email = serializers.CharField()
    token = AccessTokenShape(allow_null=True)
    workspaces = WorkspaceHeld(many=True)


class NewDeviceLogin(serializers.Serializer[Any]):
    machine = serializers.CharField(max_length=200, help_text="What the person is shown: the machine's name.")
    hours = serializers.IntegerField(required=False, default=tokens.USUAL_HOURS, min_value=1, max_value=9999)


class DeviceLoginShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    device_code = serializers.CharField(help_text="For the program alone.")
    user_code = serializers.CharField(help_text="For the person to compare.")
    verification_uri = serializers.CharField()
    verification_uri_complete = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")
    interval = serializers.IntegerField(help_text="Seconds to wait between two questions.")


class DeviceCode(serializers.Serializer[Any]):
    device_code = serializers.CharField(max_length=200)


class TokenMade(AccessTokenShape):
    username = serializers.CharField()
    token = serializers.CharField(help_text="The secret; it is shown once and never again.")


class Me(View):
    """The person who asks."""

    permission_classes = (permissions.SignedIn,)

    @documented("Say who you are", gives=MeShape)
    def get(self, request: Request) -> Response:
        person = self.person(request)
        members = Membership.objects.filter(person=person, active=True).select_related("workspace")
        held = [
            {
                "slug": member.workspace.slug,
                "name": member.workspace.name,
                "roles": sorted(memberships.roles_anywhere(person, member.workspace_id)),
            }
            for member in members.order_by("workspace__slug")
        ]
        token = request.auth if isinstance(request.auth, AccessToken) else None
        told = {name: getattr(person, name) for name in ("id", "username", "name", "email")}
        return Response(MeShape(told | {"token": token, "workspaces": held}).data)


class AccessTokens(View):
    """Your access tokens, those that have ended included."""

    permission_classes = (permissions.SignedIn,)

    @documented("List your access tokens", gives=AccessTokenShape, listed=True, in_workspace=False)
    def get(self, request: Request) -> Response:
        return self.page(request, AccessToken.objects.filter(person=self.person(request)), AccessTokenShape)


class OneAccessToken(View):
    """One of your access tokens; deleting it revokes it. The row stays."""

    permission_classes = (permissions.SignedIn,)

    @documented("Read one of your access tokens", gives=AccessTokenShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(AccessTokenShape(tokens.of(self.person(request), pk)).data)

    @documented("Revoke one of your access tokens", takes=Empty, code=204)
    def delete(self, request: Request, pk: UUID) -> Response:
        person = self.person(request)
        tokens.revoke(tokens.of(person, pk), actor=person.actor, **asked(request))
        return gone()


class DeviceLogins(View):
    """Logins of programs. Nobody has to be known to begin one; a person in a browser ends it."""

    permission_classes = (AllowAny,)

    @documented("Begin the login of a device", takes=NewDeviceLogin, gives=DeviceLoginShape, code=201, also=(429,))
    def post(self, request: Request) -> Response:
        asks = body(request, NewDeviceLogin)
        row, device_code = devices.begin(
            machine=asks["machine"],
            address=_address(request),
            hours=asks["hours"],
        )
        page = settings.PLACET_URL + reverse("pages:device")
        answer = {
            "id": row.pk,
            "device_code": device_code,
            "user_code": row.code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?code={row.code}",
            "expires_in": int(devices.LIFE.total_seconds()),
            "interval": devices.INTERVAL,
        }
        return made(DeviceLoginShape(answer).data)


class DeviceTokens(View):
    """What a confirmed login gives, once."""

    permission_classes = (AllowAny,)

    @documented("Collect the token of a confirmed login", takes=DeviceCode, gives=TokenMade, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        code = body(request, DeviceCode)["device_code"]
        row, secret = devices.collect(pk, code, **asked(request))
        shown = dict(AccessTokenShape(row).data) | {"username": row.person.username, "token": secret}
        return made(shown)


def _address(request: Request) -> str | None:
    """Return the client's address, as the limits of sign-in see it: not that of the proxies which we trust."""
    try:
        return str(get_adapter().get_client_ip(request._request))
    except PermissionDenied:
        return None  # behind a unix socket, and no proxy tells
