"""The trail over REST: records, proofs, checkpoints, exports."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db import transaction
from django.http import HttpResponseBase, StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit import checkpoints, export, log, permissions, proofs, records, shapes, strict
from audit.refusal import Refusal, not_found

NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
EXPORTED = "audit.export.created"


def refusals(*statuses: int) -> dict[Any, OpenApiResponse]:
    """Return the documented refusals of a view: 400 to 404 and the further ones given."""
    return {(status, PROBLEM): OpenApiResponse(shapes.Problem) for status in (400, 401, 403, 404, 406, *statuses)}


class Anything(BaseRenderer):
    """Content that has one form only, whatever the caller accepts."""

    media_type = "*/*"
    format = "raw"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Give `data` as it is."""
        return data


class TrailView(APIView):
    """A view whose permission is injected."""

    permission_classes = (permissions.Injected,)

    def workspace(self, reference: str | UUID, *, purpose: permissions.Purpose = "read") -> UUID:
        """Return the workspace whose trail the caller asks for. :raises Refusal: if they may not see it."""
        return permissions.reader().workspace(self.request, str(reference), purpose=purpose)

    def record(self, record: UUID, *, purpose: permissions.Purpose = "read") -> records.Row:
        """Return a record that the caller may see. :raises Refusal: not_found."""
        row = records.get(record)
        try:
            self.workspace(row.workspace, purpose=purpose)
        except Refusal as refusal:
            raise not_found("record") if refusal.status == 404 else refusal from refusal
        return row


class RecordsView(TrailView):
    """Records of a workspace."""

    @extend_schema(
        operation_id="records_list",
        summary="List records, the newest first",
        parameters=[shapes.RecordQuery],
        responses={200: shapes.RecordPage, **refusals()},
    )
    def get(self, request: Request) -> Response:
        query = strict.parsed(shapes.RecordQuery, request.query_params)
        workspace = self.workspace(query["workspace"])
        narrow = records.Filter(**{name: query.get(name) for name in records.Filter.__slots__})
        rows = records.newest(workspace, before=_uncursor(query), narrow=narrow, limit=query["limit"])
        return _page(request, query, [_record(row) for row in rows])


class RecordView(TrailView):
    """One record."""

    @extend_schema(operation_id="records_retrieve", responses={200: shapes.RecordDetail, **refusals()})
    def get(self, request: Request, record: UUID) -> Response:
        row = self.record(record)
        response = Response(_record(row) | {"body": row.text})
        response.headers["ETag"] = f'"{row.leaf_hash.hex()}"'
        return response


class RecordProofView(TrailView):
    """The inclusion proof of one record."""

    @extend_schema(
        operation_id="records_proof",
        parameters=[shapes.ProofQuery],
        responses={200: shapes.InclusionProof, **refusals(409)},
    )
    def get(self, request: Request, record: UUID) -> Response:
        query = strict.parsed(shapes.ProofQuery, request.query_params)
        row = self.record(record)
        proof = proofs.inclusion(row.workspace, record, query.get("size"))
        return Response(
            {
                "record": record,
                "index": proof.index,
                "leaf_hash": _base64(proof.leaf_hash),
                "path": [_base64(one) for one in proof.path],
                "checkpoint": proof.checkpoint.note,
                "tlog_proof": proof.text(),
            }
        )


class CheckpointsView(TrailView):
    """Checkpoints of a workspace's log."""

    @extend_schema(
        operation_id="checkpoints_list",
        summary="List checkpoints, the newest first",
        parameters=[shapes.CheckpointQuery],
        responses={200: shapes.CheckpointPage, **refusals()},
    )
    def get(self, request: Request) -> Response:
        query = strict.parsed(shapes.CheckpointQuery, request.query_params)
        rows = checkpoints.newest(self.workspace(query["workspace"]), before=_uncursor(query), limit=query["limit"])
        return _page(request, query, [_checkpoint(row) for row in rows])


class CheckpointView(TrailView):
    """One checkpoint."""

    @extend_schema(operation_id="checkpoints_retrieve", responses={200: shapes.Checkpoint, **refusals()})
    def get(self, request: Request, checkpoint: UUID) -> Response:
        return Response(_checkpoint(self.checkpoint(checkpoint)))

    def checkpoint(self, checkpoint: UUID) -> checkpoints.Row:
        """Return a checkpoint that the caller may see. :raises Refusal: not_found."""
        row = checkpoints.get(checkpoint)
        try:
            self.workspace(row.workspace)
        except Refusal as refusal:
            raise not_found("checkpoint") if refusal.status == 404 else refusal from refusal
        return row


class ConsistencyView(CheckpointView):
    """The consistency proof that leads to a checkpoint."""

    @extend_schema(
        operation_id="checkpoints_consistency",
        parameters=[shapes.ConsistencyQuery],
        responses={200: shapes.ConsistencyProof, **refusals()},
    )
    def get(self, request: Request, checkpoint: UUID) -> Response:
        old = strict.parsed(shapes.ConsistencyQuery, request.query_params)["from"]
        row = self.checkpoint(checkpoint)
        proof = proofs.consistency(row.workspace, old, row.size)
        return Response({"from": old, "to": row.size, "proof": [_base64(one) for one in proof]})


class ExportsView(TrailView):
    """Exports of a workspace's trail."""

    @extend_schema(
        operation_id="exports_list",
        summary="List exports, the newest first",
        parameters=[shapes.CheckpointQuery],
        responses={200: shapes.ExportPage, **refusals()},
    )
    def get(self, request: Request) -> Response:
        query = strict.parsed(shapes.CheckpointQuery, request.query_params)
        workspace = self.workspace(query["workspace"], purpose="export")
        rows = records.newest(workspace, before=_uncursor(query), event=EXPORTED, limit=query["limit"])
        return _page(request, query, [_export(row) for row in rows])

    @extend_schema(
        operation_id="exports_create",
        summary="Fix what an export holds; fetch it from `content`",
        request=shapes.ExportRequest,
        responses={201: shapes.Export, **refusals(409, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        wanted = strict.parsed(shapes.ExportRequest, request.data)
        workspace = self.workspace(wanted.pop("workspace"), purpose="export")
        size = proofs.checkpoint(workspace, wanted.get("size")).size
        narrowed = {name: wanted[name] for name in export.Selection.__slots__ if name in wanted}
        data = {"kind": "excerpt" if narrowed else "log", "size": size, "first": min(wanted["first"], size)}
        with transaction.atomic():
            entry = log.append(
                EXPORTED,
                workspace=workspace,
                actor=permissions.reader().actor(request),
                correlation_id=_correlation(request),
                now=timezone.now(),
                data=data | {"selection": narrowed, "since": wanted.get("since", [])},
            )
        answer = _export(records.get(entry.id))
        return Response(answer, status=201, headers={"Location": reverse("export", args=[entry.id])})


class _OneExport(TrailView):
    def export(self, export: UUID) -> records.Row:
        """Return the record of an export that the caller may fetch. :raises Refusal: not_found."""
        row = self.record(export, purpose="export")
        if row.event != EXPORTED:
            raise not_found("export")
        return row


class ExportView(_OneExport):
    """One export."""

    @extend_schema(operation_id="exports_retrieve", responses={200: shapes.Export, **refusals()})
    def get(self, request: Request, export: UUID) -> Response:
        return Response(_export(self.export(export)))


class ExportContentView(_OneExport):
    """The NDJSON of an export, streamed."""

    renderer_classes = (Anything,)

    @extend_schema(
        operation_id="exports_content",
        summary="Fetch an export; audit/verify.py checks it offline",
        responses={(200, NDJSON): OpenApiResponse(bytes), **refusals(409)},
    )
    def get(self, request: Request, export: UUID) -> HttpResponseBase:
        row = self.export(export)
        chunks = _content(row)
        with transaction.atomic():
            log.append(
                "audit.export.downloaded",
                workspace=row.workspace,
                actor=permissions.reader().actor(request),
                correlation_id=_correlation(request),
                now=timezone.now(),
                subjects={"export": str(row.id)},
            )
        headers = {"Content-Disposition": f'attachment; filename="{row.id}.ndjson"', "Cache-Control": "no-store"}
        return StreamingHttpResponse(chunks, content_type=NDJSON, headers=headers)


def _content(row: records.Row) -> Iterable[bytes]:
    data = row.body["data"]
    narrowed = data["selection"]
    if "records" in narrowed:
        narrowed = narrowed | {"records": [UUID(one) for one in narrowed["records"]]}
    return export.stream(
        row.workspace,
        size=data["size"],
        first=data["first"],
        selection=export.Selection(**narrowed) if data["kind"] == "excerpt" else None,
        since=data["since"],
    )


def _record(row: records.Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "workspace": row.workspace,
        "index": row.index,
        "event": row.event,
        "actor": row.actor,
        "correlation_id": row.correlation_id,
        "at": row.body["at"],
        "subjects": row.body["subjects"],
        "data": row.body["data"],
        "leaf_hash": row.leaf_hash.hex(),
    }


def _checkpoint(row: checkpoints.Row) -> dict[str, Any]:
    return row._asdict() | {"root": _base64(row.root)}


def _export(row: records.Row) -> dict[str, Any]:
    members = {name: row.body["data"][name] for name in ("kind", "size", "first")}
    content = reverse("export-content", args=[row.id])
    return {
        "id": row.id,
        "workspace": row.workspace,
        "actor": row.actor,
        "at": row.body["at"],
        "content": content,
    } | members


def _page(request: Request, query: dict[str, Any], results: list[dict[str, Any]]) -> Response:
    following = None
    if len(results) == query["limit"]:
        cursor = base64.urlsafe_b64encode(results[-1]["id"].bytes).rstrip(b"=").decode()
        kept = {name: value for name, value in request.query_params.items() if name != "cursor"}
        following = request.build_absolute_uri(f"{request.path}?{urlencode(kept | {'cursor': cursor})}")
    return Response({"next": following, "results": results})


def _uncursor(query: dict[str, Any]) -> UUID | None:
    if "cursor" not in query:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(query["cursor"] + "=="))
    except (ValueError, binascii.Error) as error:
        raise Refusal(
            "cursor_invalid", "The cursor is not one of ours; begin with the first page.", field="cursor"
        ) from error


def _correlation(request: Request) -> str:
    return str(getattr(request, "correlation_id", ""))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
