"""Runs over REST: start, look, cancel; and another chance for a dead step. Settlements are the gateway's."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import effects, reasons, runs, shapes, steps, stories
from agents.models import Run, Step
from audit.refusal import Refusal, not_found
from gateway.api import frame
from gateway.principal import Principal
from registry import permissions
from registry.models import Person, Workspace

_RUN = (
    "environment", "agent", "release", "starter", "on_behalf_of", "state", "wait", "code", "correlation_id",
    "created_at", "started_at", "finished_at", "cancel_requested_at",
)  # fmt: skip
_STEP = (
    "no", "kind", "name", "state", "code", "hold", "attempts", "failures", "not_before", "lease_until", "record",
    "created_at", "finished_at",
)  # fmt: skip


class RunsView(APIView):
    """Runs of a workspace, or those that the asking credential started."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(
        operation_id="runs_create",
        summary="Start a run",
        description="The same key and body start one run, however often they are sent: 201 the first time, then 200.",
        request=shapes.RunRequest,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, required=True)],
        responses={
            200: OpenApiResponse(shapes.RunDetail, description="The run that this key has started before."),
            201: shapes.RunDetail,
            **frame.refusals(409, 413, 422),
        },
    )
    def post(self, request: Request) -> Response:
        key = _key(request)
        body = frame.parsed(shapes.RunRequest, request.data)
        by, workspace, environment, agent = _place(request, body)
        run, new = runs.start(
            workspace,
            environment=environment,
            agent=agent,
            goal=body["goal"],
            inputs=body["inputs"],
            on_behalf_of=body.get("on_behalf_of"),
            by=by,
            key=key,
            now=frame.now(),
            correlation_id=frame.correlation_id(request),
        )
        return Response(_detail(run), status=201 if new else 200)

    @extend_schema(
        operation_id="runs_list",
        summary="List runs, the newest first",
        parameters=[shapes.RunQuery],
        responses={200: shapes.RunPage, **frame.refusals()},
    )
    def get(self, request: Request) -> Response:
        query = frame.parsed(shapes.RunQuery, request.query_params)
        principal = frame.principal(request)
        if principal is not None:
            rows = Run.objects.filter(workspace_id=frame.within(principal, query), starter=principal.actor)
        else:
            rows = Run.objects.filter(workspace_id=permissions.workspace_of(request, query.get("workspace")).pk)
        for name in ("state", "wait", "environment", "agent"):
            if name in query:
                rows = rows.filter(**{name: query[name]})
        return frame.page(request, query, rows, _row)


class RunView(APIView):
    """One run with its steps."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(
        operation_id="runs_retrieve",
        summary="Show a run with its steps",
        responses={200: shapes.RunDetail, **frame.refusals()},
    )
    def get(self, request: Request, run: UUID) -> Response:
        return Response(_detail(_find(request, run)))


class CancellationsView(APIView):
    """The end of a run before its time."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(
        operation_id="runs_cancel",
        summary="End a run",
        description="Nothing new is decided from here on; what is under way may finish. `not_undone` lists what "
        "cannot be taken back.",
        request=shapes.CancellationRequest,
        responses={201: shapes.RunDetail, **frame.refusals(409)},
    )
    def post(self, request: Request, run: UUID) -> Response:
        row = _find(request, run)
        body = frame.parsed(shapes.CancellationRequest, request.data)
        by, asked_in = _asker(request), frame.correlation_id(request)
        row = runs.cancel(row, by=by, now=frame.now(), correlation_id=asked_in, compensate=body["compensate"])
        return Response(_detail(row), status=201)


class RequeuesView(APIView):
    """Another chance for a dead step."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="steps_requeue",
        summary="Try a dead step again",
        description="The step is tried again under the key it always had.",
        request=None,
        responses={201: shapes.StepRow, **frame.refusals(409)},
    )
    def post(self, request: Request, step: UUID) -> Response:
        row = Step.objects.select_related("run").filter(pk=step).first()
        if row is None:
            raise not_found("step")
        person = frame.member(request, row.run.workspace_id, "step")
        return Response(_step(steps.requeue(row, by=person, now=frame.now())), status=201)


def _place(request: Request, body: dict[str, Any]) -> tuple[Person | Principal, Workspace, str, str]:
    """Return who starts the run, and where. A credential may leave out what it implies."""
    principal = frame.principal(request)
    if principal is not None:
        workspace = permissions.find_workspace(body.get("workspace") or str(principal.workspace))
        if workspace is None:
            raise not_found("workspace")
        agent = body.get("agent") or principal.agent or ""
        return principal, workspace, body.get("environment") or principal.environment, agent
    person = frame.person(request)
    missing = next((name for name in ("workspace", "environment", "agent") if not body.get(name)), None)
    if missing:
        raise Refusal("invalid", f"{missing}: it is needed to start a run.", field=missing)
    return person, permissions.workspace_of(request, body["workspace"]), body["environment"], body["agent"]


def _key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        detail = "Send an Idempotency-Key header: a retry must not start a second run."
        raise Refusal("idempotency_key_missing", detail, field="Idempotency-Key")
    return key


def _asker(request: Request) -> Person | Principal:
    return frame.principal(request) or frame.person(request)


def _find(request: Request, pk: UUID) -> Run:
    run = Run.objects.filter(pk=pk).first()
    if run is None:
        raise not_found("run")
    principal = frame.principal(request)
    if principal is None:
        frame.member(request, run.workspace_id, "run")
    elif (principal.workspace, principal.actor) != (run.workspace_id, run.starter):
        raise not_found("run")
    return run


def _row(run: Run) -> dict[str, Any]:
    said = reasons.message(run.code) if run.code else ""
    return {"id": run.pk, "session": run.session_id, "message": said} | {name: getattr(run, name) for name in _RUN}


def _step(step: Step) -> dict[str, Any]:
    return {"id": step.pk, "call": step.call_id, "undoes": step.undoes.no if step.undoes else None} | {
        name: getattr(step, name) for name in _STEP
    }


def _detail(run: Run) -> dict[str, Any]:
    return _row(run) | {
        "goal": stories.goal_of(run),
        "answer": stories.answer_of(run),
        "steps": [_step(step) for step in run.steps.select_related("undoes").order_by("no")],
        "not_undone": effects.not_undone(run) if run.cancel_requested_at or run.compensation_session_id else [],
    }
