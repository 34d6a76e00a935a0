"""One search over everything that has a name, a digest or an id: by name, by prefix, exactly, or by correlation id."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from agents.models import Run
from audit import records
from config.pages.trail import may_read
from gateway.models import Call, Hold
from registry.models import Artifact, Proposal, Version
from registry.views.frame import Visit, page

MOST = 20  # of each kind
SHORTEST = 4  # digits of an id or digest: fewer fit nearly everything of the last day
LONGEST = 200
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that fits. `id` is what the search was compared with."""

    address: str
    name: str
    what: str
    state: str
    at: datetime | None
    id: str


@dataclass(frozen=True, slots=True)
class Group:
    """What was found of one kind; `more`: there is more than is shown."""

    title: str
    rows: Sequence[Found]
    more: bool

    @property
    def ids(self) -> bool:
        """Say whether its rows are found by an id or digest."""
        return any(row.id for row in self.rows)


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody looks for: the words as typed, and the ids that begin so (None where no id does)."""

    text: str
    ids: tuple[UUID, UUID] | None
    whole: bool

    @property
    def hex(self) -> str:
        """Return the digits of a digest that begins so; "" where none does."""
        digits = self.text.lower().removeprefix("sha256:")
        return digits if len(digits) >= SHORTEST and _HEX.fullmatch(digits) else ""


@page()
def search(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List what fits, by kind. A whole id or digest that fits one thing alone leads straight there."""
    asked = _asked(request.GET.get("q", ""))
    groups = [group for group in _groups(visit, asked) if group.rows] if asked.text else []
    found = [row for group in groups for row in group.rows]
    if asked.whole and len(found) == 1:
        return redirect(found[0].address)
    context = {"q": asked.text, "groups": groups, "count": len(found), "shortest": SHORTEST}
    return render(request, "search.html", context)


def _asked(given: str) -> Asked:
    text = given.strip()[:LONGEST]
    digits = text.lower().replace("-", "")
    ids = None
    if SHORTEST <= len(digits) <= 32 and _HEX.fullmatch(digits):
        ids = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    return Asked(text, ids, whole=len(digits) == 32 or len(text.removeprefix("sha256:")) == 64)


def _groups(visit: Visit, asked: Asked) -> Iterable[Group]:
    workspace, place = visit.workspace, _Place(visit.workspace.slug)
    named = Artifact.objects.filter(workspace=workspace, name__icontains=asked.text).order_by("kind", "name")
    yield _group("Artifacts", [place.artifact(row) for row in named[: MOST + 1]])
    digest = Q(digest__startswith=f"sha256:{asked.hex}") if asked.hex else Q(pk=None)
    fitting = Version.objects.filter(digest | _ids(asked), workspace=workspace).select_related("lifecycle")
    yield _group("Versions", [place.version(row) for row in fitting.defer("content").order_by("-id")[: MOST + 1]])
    related = records.of_correlations(workspace.pk, asked.text) if len(asked.text) >= SHORTEST else []
    by = _subjects(related)
    proposals = Proposal.objects.filter(_ids(asked, by["proposal"]), workspace=workspace)
    rows = proposals.select_related("version", "environment").defer("version__content").order_by("-id")
    yield _group("Proposals", [place.proposal(row) for row in rows[: MOST + 1]])
    holds = Hold.objects.filter(_ids(asked, by["hold"]), workspace_id=workspace.pk).order_by("-id")
    yield _group("Holds", [place.hold(row) for row in holds[: MOST + 1]])
    calls = Call.objects.filter(_ids(asked, by["call"]), workspace_id=workspace.pk).order_by("-id")
    yield _group("Calls", [place.call(row) for row in calls[: MOST + 1]])
    runs = Run.objects.filter(_ids(asked, by["run"]), workspace_id=workspace.pk).order_by("-id")
    yield _group("Runs", [place.run(row) for row in runs[: MOST + 1]])
    if may_read(visit):
        begun = records.beginning(workspace.pk, *asked.ids, limit=MOST + 1) if asked.ids else []
        kept = {row.id: row for row in [*begun, *related]}
        yield _group("Records", [place.record(row) for row in kept.values()])


def _group(title: str, rows: Sequence[Found]) -> Group:
    return Group(title, rows[:MOST], len(rows) > MOST)


def _ids(asked: Asked, more: Iterable[UUID] = ()) -> Q:
    """Return the condition that an id begins as asked, or is one of `more`: each a range or a look-up in an index."""
    fits = Q(pk__gte=asked.ids[0], pk__lte=asked.ids[1]) if asked.ids else Q(pk=None)
    return fits | Q(pk__in=list(more))


def _subjects(rows: Iterable[records.Row]) -> Mapping[str, set[UUID]]:
    """Return what the records under a correlation id are about: it is how a call is found by it."""
    found: dict[str, set[UUID]] = {"proposal": set(), "hold": set(), "call": set(), "run": set()}
    for row in rows:
        for name, value in row.body.get("subjects", {}).items():
            if name in found:
                found[name].add(UUID(str(value)))
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Where each kind of row has its page in the workspace `slug`."""

    slug: str

    def _at(self, name: str, *args: object) -> str:
        return reverse(f"pages:{name}", args=[self.slug, *args])

    def artifact(self, row: Artifact) -> Found:
        where, versions = self._at("artifact", row.kind, row.name), "version" if row.count == 1 else "versions"
        return Found(where, row.name, f"{row.kind}, {row.count} {versions}", "", row.created_at, "")

    def version(self, row: Version) -> Found:
        where = self._at("version", row.kind, row.name, row.number)
        return Found(where, f"{row.name} {row.number}", row.kind, row.lifecycle.state, row.created_at, row.digest)

    def proposal(self, row: Proposal) -> Found:
        what = f"for {row.environment.name}" if row.environment else "for the workspace"
        name = f"{row.version.name} {row.version.number}"
        return Found(self._at("proposal", row.pk), name, what, row.state, row.opened_at, str(row.pk))

    def hold(self, row: Hold) -> Found:
        what = f"{row.agent} in {row.environment}"
        return Found(self._at("hold", row.pk), row.name, what, row.state, row.opened_at, str(row.pk))

    def call(self, row: Call) -> Found:
        what = f"{row.agent} in {row.environment}"
        return Found(self._at("call", row.pk), row.name, what, row.state, row.opened_at, str(row.pk))

    def run(self, row: Run) -> Found:
        where, what = self._at("run", row.pk), f"in {row.environment}"
        return Found(where, f"Run of {row.agent}", what, row.state, row.created_at, str(row.pk))

    def record(self, row: records.Row) -> Found:
        return Found(self._at("record", row.id), row.event, "", "", row.at, str(row.id))
