"""Who may ask: REST permission classes that deny by default. The functions behind them check the exact role again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from audit.refusal import Refusal, not_found
from registry import memberships
from registry.models import AccessToken, Environment, Person, Role, Workspace

if TYPE_CHECKING:  # its classes read their defaults, this module among them, when they are made
    from rest_framework.views import APIView

READS_TRAIL = frozenset({Role.AUDITOR, Role.ADMIN, Role.SECURITY, Role.OPERATOR})
EXPORTS_TRAIL = frozenset({Role.AUDITOR, Role.ADMIN})
WRITE_SCOPE = "artifacts:write"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who sent a request: a person, or a credential, for which its owner answers.

    :param credential: `credential:<uuid>`; None for a person. :param workspace: the credential's; None for a person.
    """

    person: Person
    credential: str | None
    workspace: UUID | None


def requester(request: Request, *, scope: str | None = None) -> Requester:
    """Return who asks. A credential may only where `scope` is named and is one of its own.

    :raises Refusal: not_authenticated (401), forbidden (403).
    """
    person = signed_in(request)
    if person is not None:
        return Requester(person, None, None)
    principal: Any = request.auth
    if not getattr(request.user, "is_authenticated", False) or principal is None:
        raise Refusal("not_authenticated", "Sign in, or send `Authorization: Bearer <key>`.", status=401)
    scopes: frozenset[str] = getattr(principal, "scopes", frozenset())
    owner = Person.objects.filter(pk=principal.owner, is_active=True).first() if scope in scopes else None
    if owner is None:
        remedy = f" or with a credential of scope {scope}" if scope else ""
        raise Refusal("forbidden", f"A credential may not do this; ask as a person{remedy}.", status=403)
    return Requester(owner, principal.actor, principal.workspace)


def signed_in(request: Request) -> Person | None:
    """Return the person who is signed in and active; None for a credential or nobody."""
    return request.user if isinstance(request.user, Person) and request.user.is_active else None


def require_browser(request: Request, environment: Environment | None, page: str) -> None:
    """Refuse an access token where it matters most that the person is there: a token may have been stolen.

    :param environment: where the decision would count; None: the whole workspace. :param page: path of the page on
        which the person can decide, after showing once more who they are. :raises Refusal: step_up_required (403).
    """
    if isinstance(request.auth, AccessToken) and (environment is None or environment.protected):
        where = environment.name if environment else "the whole workspace"
        detail = f"A decision for {where} is made in the browser, not with an access token."
        raise Refusal("step_up_required", detail, status=403, address=page)


def workspace_of(request: Request, reference: object, *, scope: str | None = None) -> Workspace:
    """Return the workspace that a request is about, which the caller belongs to.

    :param reference: slug or id, from the query or the body; a credential may leave it out.
    :raises Refusal: workspace_missing, not_found: the same for one that is not and for one that is another's.
    """
    who = requester(request, scope=scope)
    if not reference and who.workspace is not None:
        reference = str(who.workspace)
    if not isinstance(reference, str) or not reference:
        raise Refusal("workspace_missing", "Name the workspace by its slug.", field="workspace")
    row = find_workspace(reference)
    if row is None or who.workspace not in (None, row.pk) or not memberships.is_member(who.person, row.pk):
        raise not_found("workspace")
    return row


def find_workspace(reference: str) -> Workspace | None:
    """Return the workspace with this slug or id."""
    try:
        return Workspace.objects.filter(pk=UUID(reference)).first()
    except ValueError:
        return Workspace.objects.filter(slug=reference).first()


class DenyAll(BasePermission):
    """The default: a view that names no permission is closed."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return False


class SignedIn(BasePermission):
    """A person who is signed in. What of, the view and the functions behind it decide."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return signed_in(request) is not None


class MemberOfWorkspace(BasePermission):
    """A member: of the workspace that the query names, if it does, and of the one of each row that is fetched."""

    scope: str | None = None

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not getattr(request.user, "is_authenticated", False):
            return False
        requester(request, scope=self.scope)
        reference = request.query_params.get("workspace")
        if reference:
            workspace_of(request, reference, scope=self.scope)
        return True

    def has_object_permission(self, request: Request, view: "APIView", row: Any) -> bool:
        workspace_id = row.pk if isinstance(row, Workspace) else row.workspace_id
        workspace_of(request, str(workspace_id), scope=self.scope)
        return True


class MemberOrWriter(MemberOfWorkspace):
    """A member, or a credential that may bring versions and propose them."""

    scope = WRITE_SCOPE


def role_required(*roles: str) -> type[BasePermission]:
    """Return a class that lets members through who hold one of `roles` somewhere in the workspace."""
    wanted = frozenset(roles)

    class RoleRequired(MemberOfWorkspace):
        """A member with one of the roles."""

        def has_permission(self, request: Request, view: "APIView") -> bool:
            allowed = super().has_permission(request, view)
            reference = request.query_params.get("workspace")
            return allowed and (not reference or self._holds(request, workspace_of(request, reference).pk))

        def has_object_permission(self, request: Request, view: "APIView", row: Any) -> bool:
            workspace_id = row.pk if isinstance(row, Workspace) else row.workspace_id
            return super().has_object_permission(request, view, row) and self._holds(request, workspace_id)

        def _holds(self, request: Request, workspace_id: UUID) -> bool:
            person = signed_in(request)
            return person is not None and bool(memberships.roles_anywhere(person, workspace_id) & wanted)

    return RoleRequired


class MayReadTrail(BasePermission):
    """Whom the audit app lets read: it knows no people, so this class is injected into it by the settings."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return signed_in(request) is not None

    def workspace(self, request: Request, reference: str, *, purpose: Literal["read", "export"]) -> UUID:
        """Return the id of the workspace. :raises Refusal: not_found for a foreign one, forbidden without the role."""
        workspace = workspace_of(request, reference)
        wanted = READS_TRAIL if purpose == "read" else EXPORTS_TRAIL
        if not memberships.roles_of(requester(request).person, workspace.pk) & wanted:
            names = " or ".join(sorted(wanted))
            raise Refusal("forbidden", f"This needs the role {names} in the workspace.", status=403)
        return workspace.pk

    def actor(self, request: Request) -> str:
        """Return the caller as the trail names them."""
        who = requester(request)
        return who.credential or who.person.actor
