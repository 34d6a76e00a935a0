"""The log in the form of c2sp.org/tlog-tiles: any client of that specification reads it, given access."""

import re
from uuid import UUID

from django.db import connection
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request

from audit import proofs, tree
from audit.api import Anything, TrailView, refusals
from audit.refusal import Refusal, not_found

# Tile numbers stand in groups of three digits, all but the last marked with x: 1234067 is x001/x234/067.
_PLACE = re.compile(r"((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_OCTETS = "application/octet-stream"


class LogCheckpointView(TrailView):
    """The newest checkpoint."""

    renderer_classes = (Anything,)

    @extend_schema(operation_id="log_checkpoint", responses={(200, "text/plain"): OpenApiResponse(str), **refusals()})
    def get(self, request: Request, workspace: str) -> HttpResponse:
        log_id = self.workspace(workspace)
        try:
            signed = proofs.checkpoint(log_id)
        except Refusal as refusal:
            raise not_found("checkpoint") from refusal
        headers = {"Cache-Control": "private, max-age=1"}
        return HttpResponse(signed.note, content_type="text/plain; charset=utf-8", headers=headers)


class LogTileView(TrailView):
    """A tile of hashes."""

    renderer_classes = (Anything,)

    @extend_schema(operation_id="log_tile", responses={(200, _OCTETS): OpenApiResponse(bytes), **refusals()})
    def get(self, request: Request, workspace: str, level: str, place: str) -> HttpResponse:
        n, width = _place(place)
        if not re.fullmatch(r"[0-9]|[1-5][0-9]|6[0-3]", level):
            raise not_found("tile")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT hashes FROM audit_tile WHERE workspace = %s AND level = %s AND n = %s",
                [self.workspace(workspace), int(level), n],
            )
            row = cursor.fetchone()
        hashes = bytes(row[0])[: width * tree.HASH] if row else b""
        if len(hashes) < width * tree.HASH:
            raise not_found("tile")
        return HttpResponse(hashes, content_type=_OCTETS, headers=_FOREVER)


class LogEntriesView(TrailView):
    """A bundle of records, each behind its length in two bytes."""

    renderer_classes = (Anything,)

    @extend_schema(operation_id="log_entries", responses={(200, _OCTETS): OpenApiResponse(bytes), **refusals()})
    def get(self, request: Request, workspace: str, place: str) -> HttpResponse:
        n, width = _place(place)
        bodies = _bodies(self.workspace(workspace), n * tree.WIDTH, width)
        if len(bodies) < width:
            raise not_found("entry bundle")
        bundle = b"".join(len(body).to_bytes(2, "big") + body for body in bodies)
        return HttpResponse(bundle, content_type=_OCTETS, headers=_FOREVER)


def _bodies(workspace: UUID, first: int, count: int) -> list[bytes]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.body FROM audit_leaf l JOIN audit_record r ON r.id = l.record "
            "WHERE l.workspace = %s AND l.index >= %s AND l.index < %s ORDER BY l.index",
            [workspace, first, first + count],
        )
        return [bytes(body) for (body,) in cursor.fetchall()]


def _place(place: str) -> tuple[int, int]:
    """Return number and width of a tile. :raises Refusal: not_found for what is no tile's address."""
    found = _PLACE.fullmatch(place)
    if found is None or len(place) > 40:
        raise not_found("tile")
    number = found[1].replace("x", "").replace("/", "")
    width = int(found[2]) if found[2] else tree.WIDTH
    # A number has one address only, and nothing is past what a table can hold.
    if (len(number) > 3 and number.startswith("000")) or int(number) >= 2**53 or width > (255 if found[2] else 256):
        raise not_found("tile")
    return int(number), width
