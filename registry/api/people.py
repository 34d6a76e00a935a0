"""Workspaces, memberships, grants and environments."""

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from audit.refusal import Refusal, not_found
from registry import memberships, people, permissions, workspaces
from registry.api.exchange import Empty, View, asked, body, decided, documented, environment, gone, made
from registry.models import Environment, FactorReset, Grant, Membership, Person, Role, Workspace


class WorkspaceShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    slug = serializers.SlugField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()


class MembershipShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    person = serializers.UUIDField(source="person_id")
    username = serializers.CharField(source="person.username")
    name = serializers.CharField(source="person.name")
    active = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class NewMembership(serializers.Serializer[Any]):
    workspace = serializers.CharField()
    username = serializers.CharField()


class GrantShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    membership = serializers.UUIDField(source="membership_id")
    username = serializers.CharField(source="membership.person.username")
    role = serializers.ChoiceField(Role.choices)
    environment = serializers.CharField(source="environment.name", default=None, allow_null=True)
    granted_by = serializers.UUIDField(source="granted_by_id", allow_null=True)
    at = serializers.DateTimeField()
    confirmed_by = serializers.UUIDField(source="confirmed_by_id", allow_null=True)
    confirmed_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewGrant(serializers.Serializer[Any]):
    membership = serializers.UUIDField()
    role = serializers.CharField()
    environment = serializers.CharField(required=False, allow_null=True, default=None)


class EnvironmentShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    name = serializers.SlugField()
    protected = serializers.BooleanField()
    bundle_revision = serializers.CharField()
    created_at = serializers.DateTimeField()


class NewEnvironment(serializers.Serializer[Any]):
    workspace = serializers.CharField()
    name = serializers.CharField()
    protected = serializers.BooleanField(default=False)


class Workspaces(View):
    """The workspaces of the caller. New ones come from `manage.py init`."""

    @documented("List workspaces", gives=WorkspaceShape, listed=True)
    def get(self, request: Request) -> Response:
        return self.page(request, self.mine(request, Workspace.objects.all(), "pk"), WorkspaceShape)


class OneWorkspace(View):
    """One workspace."""

    @documented("Read a workspace", gives=WorkspaceShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(WorkspaceShape(self.row(request, Workspace.objects.all(), pk, "workspace")).data)


class Memberships(View):
    """Who is a member."""

    rows = Membership.objects.select_related("workspace", "person")

    @documented("List memberships", gives=MembershipShape, listed=True)
    def get(self, request: Request) -> Response:
        return self.page(request, self.mine(request, self.rows.all()), MembershipShape)

    @documented("Add a member", takes=NewMembership, gives=MembershipShape, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewMembership)
        workspace, actor = self.workspace(request, asks["workspace"]), self.person(request)
        memberships.require(actor, workspace.pk, [Role.ADMIN])
        person = Person.objects.filter(username=asks["username"], is_active=True).first()
        if person is None:
            raise Refusal("person_unknown", "No active person has this username.", field="username")
        before = memberships.is_member(person, workspace.pk)
        row = memberships.add(workspace, person, actor=actor, **asked(request))
        return made(MembershipShape(row).data, created=not before)


class OneMembership(View):
    """One membership; deleting it switches it off."""

    rows = Membership.objects.select_related("workspace", "person")

    @documented("Read a membership", gives=MembershipShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(MembershipShape(self.row(request, self.rows.all(), pk, "membership")).data)

    @documented("Switch a membership off", takes=Empty, code=204)
    def delete(self, request: Request, pk: UUID) -> Response:
        row = self.row(request, self.rows.all(), pk, "membership")
        memberships.deactivate(row, actor=self.person(request), **asked(request))
        return gone()


class Grants(View):
    """Roles of members, everywhere or in one environment."""

    rows = Grant.objects.select_related("membership__person", "membership__workspace", "environment")

    @documented("List grants", gives=GrantShape, listed=True)
    def get(self, request: Request) -> Response:
        return self.page(request, self.mine(request, self.rows.all(), "membership__workspace"), GrantShape)

    @documented("Grant a role", takes=NewGrant, gives=GrantShape, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewGrant)
        member = self.row(request, Membership.objects.all(), asks["membership"], "membership")
        where = environment(member.workspace_id, asks["environment"])
        before = Grant.objects.filter(membership=member, role=asks["role"], environment=where, revoked_at=None)
        known = before.exists()
        row = memberships.grant(member, asks["role"], environment=where, actor=self.person(request), **decided(request))
        return made(GrantShape(row).data, created=not known)


class OneGrant(View):
    """One grant; deleting it revokes it."""

    rows = Grant.objects.select_related("membership__person", "membership__workspace", "environment")

    def find(self, request: Request, pk: UUID) -> Grant:
        """Return the grant if it is of a workspace of the caller."""
        row = self.rows.filter(pk=pk).first()
        self.row(request, Membership.objects.all(), row.membership_id if row else pk, "grant")
        return self.rows.get(pk=pk)

    @documented("Read a grant", gives=GrantShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(GrantShape(self.find(request, pk)).data)

    @documented("Revoke a grant", takes=Empty, code=204)
    def delete(self, request: Request, pk: UUID) -> Response:
        memberships.revoke(self.find(request, pk), actor=self.person(request), **asked(request))
        return gone()


class Confirmation(OneGrant):
    """A second admin agrees to a grant."""

    http_method_names = ("post", "options")

    @documented("Confirm a grant as a second admin", takes=Empty, gives=GrantShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = self.find(request, pk)
        known = row.confirmed_at is not None
        row = memberships.confirm(row, actor=self.person(request), **decided(request))
        return made(GrantShape(row).data, created=not known)


class Environments(View):
    """Where releases are live."""

    rows = Environment.objects.select_related("workspace")

    @documented("List environments", gives=EnvironmentShape, listed=True)
    def get(self, request: Request) -> Response:
        return self.page(request, self.mine(request, self.rows.all()), EnvironmentShape)

    @documented("Add an environment", takes=NewEnvironment, gives=EnvironmentShape, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewEnvironment)
        workspace = self.workspace(request, asks["workspace"])
        known = Environment.objects.filter(workspace=workspace, name=asks["name"]).exists()
        row = workspaces.add_environment(
            workspace, asks["name"], protected=asks["protected"], actor=self.person(request), **asked(request)
        )
        return made(EnvironmentShape(row).data, created=not known)


class OneEnvironment(View):
    """One environment."""

    rows = Environment.objects.select_related("workspace")

    @documented("Read an environment", gives=EnvironmentShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(EnvironmentShape(self.row(request, self.rows.all(), pk, "environment")).data)


class Protection(View):
    """Protection of an environment, for good."""

    permission_classes = (permissions.role_required(Role.ADMIN),)

    @documented("Protect an environment", takes=Empty, gives=EnvironmentShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = self.row(request, Environment.objects.select_related("workspace"), pk, "environment")
        known = row.protected
        row = workspaces.protect(row, actor=self.person(request), **asked(request))
        return made(EnvironmentShape(row).data, created=not known)


class FactorResetShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    person = serializers.UUIDField(source="person_id")
    username = serializers.CharField(source="person.username")
    by = serializers.UUIDField(source="by_id", allow_null=True)
    at = serializers.DateTimeField()
    confirmed_by = serializers.UUIDField(source="confirmed_by_id", allow_null=True)
    confirmed_at = serializers.DateTimeField(allow_null=True)


class NewFactorReset(serializers.Serializer[Any]):
    membership = serializers.UUIDField()
    reason = serializers.CharField(max_length=2000, help_text="How you know that it is really them.")


class FactorResets(View):
    """Second factors that were lost and taken away."""

    @documented("Reset the second factors of a member", takes=NewFactorReset, gives=FactorResetShape, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewFactorReset)
        member = self.row(request, Membership.objects.select_related("person"), asks["membership"], "membership")
        row = people.reset_factors(member.person, by=self.person(request), reason=asks["reason"], **decided(request))
        return made(FactorResetShape(row).data)


class FactorResetConfirmation(View):
    """A second admin agrees to a reset."""

    http_method_names = ("post", "options")

    @documented("Confirm a reset as a second admin", takes=Empty, gives=FactorResetShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = FactorReset.objects.select_related("person").filter(pk=pk).first()
        if row is None:
            raise not_found("factor-reset")
        known = row.confirmed_at is not None
        row = people.confirm_reset(row, actor=self.person(request), **decided(request))
        return made(FactorResetShape(row).data, created=not known)
