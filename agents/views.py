"""Runs as pages: what was asked, how far it came, what it used, what it waits for; cancel, and another chance."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Exists, OuterRef
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from agents import effects, reasons, runs, states, steps, stories
from agents.models import Run, Step
from audit.refusal import Refusal
from gateway import recall
from gateway.models import Attempt, Counter, Lease, SessionLabel
from gateway.views import told
from registry import versions
from registry.models import Environment, Version
from registry.views.frame import Visit, live, page

PAGE = 50
STEPS = 50  # of one run, on one page
EXACT = ("agent", "environment")
STATES = list(Run.State.values)
WAITS = {
    "hold": "A person has to decide on a call of this run.",
    "timer": "A step failed in a way that may pass; it is tried again.",
    "budget": "A rate or concurrency limit has to have room again.",
    "person": "Somebody has to say what became of a step, try it again, or cancel the run.",
}
# Member of the release's budgets, the word for it, and where the counter keeps it.
BUDGETS = (("steps", "calls"), ("tokens", "tokens"), ("cost_micro_usd", "cost_micro_usd"), ("seconds", ""))


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound of the run: `used` for good, and `reserved` by calls under way."""

    name: str
    used: int
    reserved: int
    limit: int

    @property
    def percent(self) -> int:
        """Return the used part, 0 to 100."""
        return self._part(self.used)

    @property
    def reserved_percent(self) -> int:
        """Return the reserved part, so that both together are at most 100."""
        return min(100 - self.percent, self._part(self.reserved))

    @property
    def left(self) -> int:
        """Return what is neither used nor reserved."""
        return max(0, self.limit - self.used - self.reserved)

    def _part(self, amount: int) -> int:
        return min(100, round(100 * amount / self.limit)) if self.limit else 100


@page()
def run_list(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List runs, the newest first; every filter stands in the address."""
    if request.GET.get("show") == "dead":
        return _dead_letters(request, visit)
    rows = Run.objects.filter(workspace_id=visit.workspace.pk)
    narrowed = {"environment": visit.environment.name} if visit.environment else {}
    for name in EXACT:
        if word := request.GET.get(name, "").strip() or narrowed.get(name, ""):
            rows = rows.filter(**{name: word})
    if (state := request.GET.get("state", "")) in STATES:
        rows = rows.filter(state=state)
    if (before := _uuid(request.GET.get("before", ""))) is not None:
        rows = rows.filter(pk__lt=before)
    listed = list(rows.order_by("-id")[: PAGE + 1])
    more, listed = len(listed) > PAGE, listed[:PAGE]
    taken = dict(Step.objects.filter(run__in=listed).values_list("run").annotate(Count("id")))
    context = {
        "show": "all",
        "rows": [(run, taken.get(run.pk, 0)) for run in listed],
        "next": listed[-1].pk if more else None,
        "states": STATES,
        "given": request.GET,
        "filtered": any(request.GET.get(name) for name in (*EXACT, "state")),
    }
    version = [(run.pk, run.state, run.wait, taken.get(run.pk, 0)) for run in listed]
    return live(request, "agents/runs.html", "agents/listed.html", context, name="runs-list", version=version)


def _dead_letters(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List the steps that were given up, of runs that wait for somebody to say what becomes of them."""
    waiting = Run.objects.filter(workspace_id=visit.workspace.pk, state=Run.State.WAITING, wait=Run.Wait.PERSON)
    if (before := _uuid(request.GET.get("before", ""))) is not None:
        waiting = waiting.filter(pk__lt=before)
    waiting = waiting.filter(Exists(Step.objects.filter(run=OuterRef("pk"), state=Step.State.DEAD)))
    newest = list(waiting.order_by("-id")[: PAGE + 1])
    more, newest = len(newest) > PAGE, newest[:PAGE]
    dead = Step.objects.filter(run__in=newest, state=Step.State.DEAD).select_related("run").order_by("-run_id", "no")
    places = {one.name: one for one in visit.environments}
    context = {
        "show": "dead",
        "dead": [
            {
                "step": step,
                "why": _why(step, ()),
                "may_requeue": bool(visit.roles_in(places.get(step.run.environment)) & set(_operators(step.run))),
            }
            for step in dead
        ],
        "next": newest[-1].pk if more else None,
        "given": request.GET,
    }
    version = [(step.pk, step.state) for step in dead]
    return live(request, "agents/runs.html", "agents/listed.html", context, name="runs-list", version=version)


def _operators(row: Run) -> Sequence[str]:
    return list(runs.operators(row.environment))


@page()
def run(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one run."""
    return show(request, visit, find(visit, pk))


@page("POST")
def cancellation(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Ask that a run end."""
    row = find(visit, pk)
    try:
        runs.cancel(row, by=visit.person, now=visit.now, correlation_id=visit.correlation_id)
    except Refusal as refusal:
        return show(request, visit, row, refusal)
    messages.success(request, "The run is cancelled: nothing new is decided in it from here on.")
    return redirect("pages:run", visit.workspace.slug, row.pk)


@page("POST")
def requeue(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Give a dead step another chance, under the key it always had."""
    step = Step.objects.select_related("run").filter(pk=pk, run__workspace_id=visit.workspace.pk).first()
    if step is None:
        raise Http404
    try:
        steps.requeue(step, by=visit.person, now=visit.now)
    except Refusal as refusal:
        return show(request, visit, step.run, refusal)
    messages.success(request, f"Step {step.no} is tried again.")
    return redirect("pages:run", visit.workspace.slug, step.run_id)


def find(visit: Visit, pk: UUID) -> Run:
    """Return a run of the visitor's workspace. :raises Http404: if there is none."""
    row = Run.objects.select_related("session").filter(pk=pk, workspace_id=visit.workspace.pk).first()
    if row is None:
        raise Http404
    return row


def show(request: HttpRequest, visit: Visit, row: Run, refusal: Refusal | None = None) -> HttpResponse:
    """Return the page of a run, with what was refused there."""
    row = find(visit, row.pk)
    release = Version.objects.filter(workspace=visit.workspace, digest=row.release).first()
    taken, earlier = _taken(row, request.GET.get("before", ""))
    environment = Environment.objects.filter(workspace=visit.workspace, name=row.environment).first()
    operates = bool(visit.roles_in(environment) & set(runs.operators(row.environment)))
    over = states.ended(row)
    budgets = _budgets(row, release, visit)
    moves = [(step.state, step.attempts, step.code) for step in taken]
    # Seconds pass by themselves: they are no news.
    spent = [(one.used, one.reserved) for one in budgets if one.name != "seconds"]
    version = (row.state, row.wait, row.code, moves, spent)
    context = {
        "run": row,
        "why": WAITS.get(row.wait, "") or reasons.REASONS.get(row.code, "") or told.why(row.code, None),
        "goal": stories.goal_of(row),
        "answer": stories.answer_of(row),
        "release": release,
        "steps": _steps(taken),
        "earlier": earlier,
        "given": request.GET,
        "budgets": budgets,
        "labels": SessionLabel.objects.filter(root=row.session.root_id).order_by("at"),
        "not_undone": effects.not_undone(row),
        "may_cancel": not over and row.cancel_requested_at is None and (operates or row.starter == visit.person.actor),
        "may_requeue": operates and row.state == Run.State.WAITING,
        "over": over,
        "refusal": refusal,
    }
    answer = live(request, "agents/run.html", "agents/progress.html", context, name="run", version=version)
    if refusal:
        answer.status_code = refusal.status
    return answer


def _taken(row: Run, before: str) -> tuple[list[Step], int | None]:
    """Return the newest steps, or those below the number `before`, in order; and what to ask for those before them."""
    steps_of = row.steps.select_related("call", "undoes").order_by("-no")
    if before.isdecimal() and before.isascii() and len(before) < 7:
        steps_of = steps_of.filter(no__lt=int(before))
    found = list(steps_of[: STEPS + 1])
    taken = found[:STEPS][::-1]
    return taken, taken[0].no if len(found) > STEPS else None


def _steps(taken: Sequence[Step]) -> list[dict[str, Any]]:
    attempts: dict[UUID, list[Attempt]] = defaultdict(list)
    calls = [step.call_id for step in taken if step.call_id]
    for attempt in Attempt.objects.filter(call__in=calls).order_by("call_id", "number"):
        attempts[attempt.call_id].append(attempt)
    return [
        {
            "step": step,
            "attempts": attempts[step.call_id] if step.call_id else [],
            "why": _why(step, attempts[step.call_id] if step.call_id else []),
            "took": (step.finished_at - step.created_at).total_seconds() if step.finished_at else None,
        }
        for step in taken
    ]


def _why(step: Step, attempts: Sequence[Attempt]) -> str:
    """Return what the code of a step says, in the policy's words where a policy gave it."""
    if not step.code or step.code in reasons.REASONS:
        return reasons.REASONS.get(step.code, "")
    try:
        decision = recall.decision_of(attempts[-1].decided_record) if attempts else None
    except Refusal:  # erased with its data subject
        decision = None
    return told.why(step.code, decision)


def _budgets(row: Run, release: Version | None, visit: Visit) -> list[Budget]:
    bounds: Mapping[str, int] = versions.content_of(release).get("budgets", {}) if release is not None else {}
    counter = Counter.objects.filter(pk=row.pk).first()
    leases = list(Lease.objects.filter(counters__contains=[row.pk]))
    reserved = {
        "calls": len(leases),
        "tokens": sum(lease.tokens for lease in leases),
        "cost_micro_usd": sum(lease.cost_micro_usd for lease in leases),
    }
    found = []
    for name, column in BUDGETS:
        if name not in bounds:
            continue
        if column:
            used = (getattr(counter, column) if counter else 0) - reserved[column]
        else:
            used = _seconds(row, counter, visit)
        found.append(Budget(name, max(0, used), reserved.get(column, 0), bounds[name]))
    return found


def _seconds(row: Run, counter: Counter | None, visit: Visit) -> int:
    """Return for how long a run has worked: without what it waited for persons."""
    end = row.finished_at or visit.now
    if counter is None:
        return int((end - (row.started_at or row.created_at)).total_seconds())
    end = counter.waits_since or end
    return int((end - counter.started_at).total_seconds() - counter.waited_ms / 1000)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
