"""What all views of the registry share: who asks and when, one row or 404, a page of rows, the shape of errors."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers, status
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit import strict
from audit.refusal import Refusal, not_found
from audit.shapes import Problem
from registry import authentication, permissions, workspaces
from registry.models import Environment, Membership, Workspace

M = TypeVar("M", bound=Model)
WORKSPACE = OpenApiParameter(
    "workspace", str, required=False, description="Slug of one workspace; all of yours if left out."
)
PAGING = [
    OpenApiParameter("cursor", str, description="From `next` or `previous` of another page."),
    OpenApiParameter(
        "page_size", {"type": "integer", "minimum": 1, "maximum": 200}, description="How many rows; 50 if left out."
    ),
]


class Empty(serializers.Serializer[Any]):
    """Nothing."""


class Ask(NamedTuple):
    """Keyword arguments that every change takes."""

    now: datetime
    correlation_id: str


class ById(CursorPagination):
    """Newest first: the ids are in the order of time."""

    ordering = "-id"
    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"

    def get_page_size(self, request: Request) -> int:
        """Return how many rows were asked for. :raises Refusal: page_size_invalid; DRF would take its default."""
        asked = request.query_params.get(self.page_size_query_param, str(self.page_size))
        if not asked.isascii() or not asked.isdigit() or not 1 <= int(asked) <= self.max_page_size:
            detail = f"A page has 1 to {self.max_page_size} rows; leave page_size out for {self.page_size}."
            raise Refusal("page_size_invalid", detail, field="page_size")
        return int(asked)


class View(APIView):
    """A view on rows that carry their workspace."""

    permission_classes: tuple[type[BasePermission], ...] = (permissions.MemberOfWorkspace,)
    scope: str | None = None
    most: int | None = None  # rows on a page, where each is large

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse, before anything else, what the database cannot even compare with. :raises Refusal: text_invalid."""
        super().initial(request, *args, **kwargs)
        if any("\x00" in text for name, values in request.query_params.lists() for text in (name, *values)):
            raise Refusal("text_invalid", "The character U+0000 cannot stand in a text; take it out.")

    def page(self, request: Request, rows: QuerySet[M], shape: type[serializers.Serializer[Any]]) -> Response:
        """Answer with one page of `rows`."""
        paginator = ById()
        if self.most is not None:
            paginator.page_size = paginator.max_page_size = self.most
        found = paginator.paginate_queryset(rows, request, view=self)
        return paginator.get_paginated_response(shape(found, many=True).data)

    def row(self, request: Request, rows: QuerySet[M], pk: UUID, noun: str) -> M:
        """Return the row of that id if it is in a workspace of the caller. :raises Refusal: not_found."""
        row = rows.filter(pk=pk).first()
        if row is None:
            raise not_found(noun)
        self.check_object_permissions(request, row)
        return row

    def mine(self, request: Request, rows: QuerySet[M], path: str = "workspace") -> QuerySet[M]:
        """Return those of `rows` that are in a workspace of the caller, or in the one that the query names."""
        reference = request.query_params.get("workspace")
        who = permissions.requester(request, scope=self.scope)
        if reference or who.workspace is not None:
            return rows.filter(**{path: permissions.workspace_of(request, reference, scope=self.scope).pk})
        members = Membership.objects.filter(person=who.person, active=True)
        return rows.filter(**{f"{path}__in": members.values("workspace")})

    def workspace(self, request: Request, reference: str) -> Workspace:
        """Return the workspace that a body names."""
        return permissions.workspace_of(request, reference, scope=self.scope)

    def person(self, request: Request) -> Any:
        """Return the person who asks, or the owner of the credential that does."""
        return permissions.requester(request, scope=self.scope).person


def asked(request: Request) -> dict[str, Any]:
    """Return `now` and `correlation_id` for a change."""
    return {"now": timezone.now(), "correlation_id": str(getattr(request, "correlation_id", ""))}


def decided(request: Request) -> dict[str, Any]:
    """Return what `asked` does and the proof of who decides, for what asks for a fresh one."""
    return asked(request) | {"proof": authentication.of(request)}


def body(request: Request, shape: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """Return the checked body. :raises Refusal, ValidationError: naming the field."""
    return strict.parsed(shape, request.data)


def environment(workspace_id: UUID, name: str | None) -> Environment | None:
    """Return the environment of that name; None for none. :raises Refusal: not_found."""
    return workspaces.environment(workspace_id, name) if name else None


def made(document: Any, *, created: bool = True) -> Response:
    """Answer 201 for what is new and 200 for what was there already."""
    return Response(document, status=status.HTTP_201_CREATED if created else status.HTTP_200_OK)


def gone() -> Response:
    """Answer 204."""
    return Response(status=status.HTTP_204_NO_CONTENT)


F = TypeVar("F", bound=Callable[..., Any])


def documented(
    summary: str,
    *,
    takes: Any = None,
    gives: Any = None,
    code: int = 200,
    listed: bool = False,
    in_workspace: bool = True,
    also: tuple[int, ...] = (),
    parameters: tuple[OpenApiParameter, ...] = (),
) -> Callable[[F], F]:
    """Describe one method for OpenAPI, with its errors; `in_workspace`: its list can be narrowed to a workspace."""
    answers: dict[Any, Any] = {code: _page_of(gives) if listed else gives or OpenApiResponse()}
    if code == status.HTTP_201_CREATED:
        answers[200] = answers[201]
    for error in {401, 403, 404, *also} | ({400, 409, 415} if takes is not None else {400} if listed else set()):
        answers[error, "application/problem+json"] = Problem
    every = [*parameters, *(PAGING if listed else []), *([WORKSPACE] if listed and in_workspace else [])]
    name = summary.lower().replace(" ", "_") if listed else None
    return extend_schema(operation_id=name, summary=summary, request=takes, responses=answers, parameters=every)


def _page_of(shape: type[serializers.Serializer[Any]]) -> Any:
    fields: dict[str, Any] = {
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
        "results": shape(many=True),
    }
    return inline_serializer(f"{shape.__name__.removesuffix('Shape')}Page", fields)


IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    required=False,
    description='The digest that was looked at, in quotes, as the ETag of the proposal gives it: "sha256:…".',
)
