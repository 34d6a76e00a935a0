"""What the gateway's REST views share: who asks, pages by cursor, documented refusals."""

import base64
import binascii
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Model, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from audit.refusal import Refusal, not_found
from audit.shapes import Problem
from audit.strict import parsed as parsed
from audit.uuid7 import uuid7
from gateway.principal import Principal
from registry import memberships, permissions
from registry.models import Environment, Person

M = TypeVar("M", bound=Model)
LONGEST_PAGE = 200
PROBLEM = "application/problem+json"
now = timezone.now


class PageQuery(serializers.Serializer[dict[str, Any]]):
    """Which rows to list, the newest first."""

    workspace = serializers.CharField(required=False, help_text="Slug; a credential may leave it out.")
    cursor = serializers.CharField(required=False, help_text="From `next` of the page before.")
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=LONGEST_PAGE)


def refusals(*statuses: int) -> dict[Any, OpenApiResponse]:
    """Return the documented refusals of a view: 400 to 404 and the further ones given."""
    return {(status, PROBLEM): OpenApiResponse(Problem) for status in (400, 401, 403, 404, *statuses)}


def correlation_id(request: Any) -> str:
    """Return the id under which everything that this request causes is recorded."""
    return str(getattr(request, "correlation_id", "") or uuid7())


def principal(request: Request) -> Principal | None:
    """Return the credential that asks, None for a person."""
    return request.auth if isinstance(request.auth, Principal) else None


def within(principal: Principal, query: dict[str, Any]) -> UUID:
    """Return the credential's workspace. :raises Refusal: not_found, if the query names another one."""
    reference = query.get("workspace")
    if reference:
        row = permissions.find_workspace(reference)
        if row is None or row.pk != principal.workspace:
            raise not_found("workspace")
    return principal.workspace


def person(request: Request) -> Person:
    """Return the person who asks. :raises Refusal: 401 for nobody, 403 for a credential."""
    found = permissions.signed_in(request)
    if found is None:
        permissions.requester(request)
        raise Refusal("forbidden", "Only a person may do this.", status=403)
    return found


def member(request: Request, workspace: UUID, noun: str) -> Person:
    """Return the person who asks, a member of `workspace`. :raises Refusal: not_found to strangers."""
    found = person(request)
    if not memberships.is_member(found, workspace):
        raise not_found(noun)
    return found


def environment(workspace: UUID, name: str) -> Environment:
    """Return an environment of a workspace. :raises Refusal: environment_unknown."""
    row = Environment.objects.filter(workspace_id=workspace, name=name).first()
    if row is None:
        detail = f"The workspace has no environment {name!r}."
        raise Refusal("environment_unknown", detail, status=404, field="environment")
    return row


def page(request: Request, query: dict[str, Any], rows: QuerySet[M], shown: Callable[[M], dict[str, Any]]) -> Response:
    """Return one page of `rows`, which have uuid7 keys, the newest first."""
    if "cursor" in query:
        rows = rows.filter(pk__lt=_uncursor(query["cursor"]))
    found = list(rows.order_by("-pk")[: query["limit"]])
    following = None
    if len(found) == query["limit"]:
        cursor = base64.urlsafe_b64encode(found[-1].pk.bytes).rstrip(b"=").decode()
        kept = {name: value for name, value in request.query_params.items() if name != "cursor"}
        following = request.build_absolute_uri(f"{request.path}?{urlencode(kept | {'cursor': cursor})}")
    return Response({"next": following, "results": [shown(row) for row in found]})


def _uncursor(text: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(text + "=="))
    except (ValueError, binascii.Error) as error:
        detail = "The cursor is not one of ours; begin with the first page."
        raise Refusal("cursor_invalid", detail, field="cursor") from error
