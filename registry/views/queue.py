"""The review queue: what waits for the visitor, what waits for others, what is theirs, what has ended."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import F, Func, JSONField, Q, QuerySet, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse

from registry import charters, precedents, versions, workspaces
from registry.models import Approval, Contributor, Kind, Pin, Proposal, Slot, Version
from registry.views.frame import Visit, live, page

MOST = 1_000  # open proposals that are sorted, the nearest to their end first
PAGE = 25  # rows of each group on one page; the page of one group, and of what has ended, has three times as many
MINE, OTHERS, YOURS = "Waits for you", "Waits for others", "Yours"
WORDS = {"you": MINE, "others": OTHERS, "yours": YOURS}  # in the address


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the queue.

    :param before: number of the version that is live there; None: nothing is. :param risk: low, medium or high.
    :param lacks: what is missing, in few words, for the version itself; its parts may lack more.
    :param voices: who said what and stands by it, once each. :param parts: how many it pins.
    """

    proposal: Proposal
    before: int | None
    risk: str
    lacks: Sequence[str]
    voices: Sequence[Approval]
    passed: int
    failed: int
    parts: int

    @property
    def moving(self) -> tuple[object, ...]:
        """Return what can change while somebody looks at it."""
        said = [(row.pk, row.verdict) for row in self.voices]
        return self.proposal.pk, self.proposal.state, said, self.lacks, self.passed, self.failed, self.before


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under one heading, of `count` there are. :param word: names the group in an address; "": what has ended.

    :param more: where the rows after these begin; None: these are the last.
    """

    title: str
    word: str
    rows: Sequence[Waiting]
    count: int
    more: str | None


@page()
def queue(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List the proposals that wait for the visitor, those that wait for others, and those that have ended."""
    state = "open" if request.GET.get("state", "open") == "open" else "ended"
    after = request.GET.get("after", "")
    found = _open(visit, request.GET.get("who", ""), after) if state == "open" else [_ended(visit, after)]
    version = [state, [(each.title, each.count, [row.moving for row in each.rows]) for each in found]]
    whole, part = "registry/proposals.html", "registry/queue.html"
    full = state == "open" and _shown(visit).filter(state="open").count() > MOST
    context = {"state": state, "groups": found, "given": request.GET, "most": MOST if full else None}
    return live(request, whole, part, context, name="queue", version=version)


def _open(visit: Visit, who: str, after: str) -> list[Group]:
    """Return the beginning of each group, or the rows of the group `who` after the first `after`."""
    listed = list(_shown(visit).filter(state="open").order_by("expires_at", "id")[:MOST])
    by_title = _sorted(visit, listed)
    sorted_out = {word: by_title[title] for word, title in WORDS.items()}
    words, size = ([who], 3 * PAGE) if who in WORDS else (list(WORDS), PAGE)
    start = int(after) if who in WORDS and after.isdecimal() and len(after) < 7 else 0
    shown = {word: sorted_out[word][start : start + size] for word in words}
    chosen = [each for those in shown.values() for each in those]
    rows = {row.proposal.pk: row for row in _rows(chosen, _charter(visit))}
    found = []
    for word, those in shown.items():
        count, end = len(sorted_out[word]), start + size
        waits = [rows[proposal.pk] for proposal in those]
        if waits or word == "you" or who:
            found.append(Group(WORDS[word], word, waits, count, str(end) if count > end else None))
    return found


def _ended(visit: Visit, after: str) -> Group:
    """Return what has ended, the newest first, from the proposal `after` on."""
    those = _shown(visit).exclude(state="open").order_by("-concluded_at", "-id")
    key = _uuid(after)
    last = Proposal.objects.filter(workspace=visit.workspace, pk=key).first() if key else None
    if last is not None and last.concluded_at is not None:
        older = Q(concluded_at__lt=last.concluded_at) | Q(concluded_at=last.concluded_at, id__lt=last.pk)
        those = those.filter(older)
    size = 3 * PAGE
    found = list(those[: size + 1])
    more = str(found[size - 1].pk) if len(found) > size else None
    rows = _rows(found[:size], _charter(visit))
    return Group("", "", rows, len(rows), more)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def groups(visit: Visit, listed: Sequence[Proposal]) -> list[tuple[str, list[Waiting]]]:
    """Sort into: waits for me, waits for others, mine. Wider than the truth at the edges, never narrower."""
    rows = {row.proposal.pk: row for row in _rows(listed, _charter(visit))}
    sorted_out = _sorted(visit, listed)
    found = [(title, [rows[proposal.pk] for proposal in those]) for title, those in sorted_out.items()]
    return [(title, those) for title, those in found if those or title == MINE]


def waiting(visit: Visit, most: int) -> int:
    """Return how many open proposals wait for the visitor, at most `most`."""
    those = _shown(visit).filter(state="open", expires_at__gt=visit.now)
    return len(_sorted(visit, list(those.order_by("expires_at")[:most]))[MINE])


def _shown(visit: Visit) -> QuerySet[Proposal]:
    those = Proposal.objects.filter(workspace=visit.workspace).select_related("version", "environment", "proposer")
    if visit.environment is not None:
        those = those.filter(environment=visit.environment)
    return those.defer("version__content")


def _charter(visit: Visit) -> Mapping[str, object]:
    return workspaces.charter_in_force(visit.workspace.pk)[1]


def _sorted(visit: Visit, listed: Sequence[Proposal]) -> dict[str, list[Proposal]]:
    found: dict[str, list[Proposal]] = {MINE: [], OTHERS: [], YOURS: []}
    if not listed:
        return found
    charter = _charter(visit)
    ids = [row.version_id for row in listed]
    hands = set(Contributor.objects.filter(person=visit.person, version__in=ids).values_list("version_id", flat=True))
    said = Approval.objects.filter(proposal__in=listed, approver=visit.person, withdrawn_at=None)
    done = set(said.values_list("proposal_id", flat=True))
    kinds: dict[UUID, set[str]] = {row.version_id: {row.version.kind} for row in listed}
    for version, kind in Pin.objects.filter(version__in=ids).values_list("version_id", "part__kind").distinct():
        kinds[version].add(kind)
    for row in listed:
        if row.proposer_id == visit.person.pk or row.version_id in hands:
            found[YOURS].append(row)
        elif row.pk in done or not precedents.usable(visit.held, row) & _asked(charter, row, kinds[row.version_id]):
            found[OTHERS].append(row)
        else:
            found[MINE].append(row)
    return found


def _asked(charter: Mapping[str, object], row: Proposal, kinds: Iterable[str]) -> frozenset[str]:
    """Return the roles that the charter could ask for the version or one of its parts, whatever their risk."""
    name = row.environment.name if row.environment else None
    # A rule for a risk holds for higher ones too: at the highest, every rule that could match does.
    risks = (charters.RISKS[0], charters.RISKS[-1])
    return frozenset(
        role
        for kind in kinds
        for risk in risks
        for rule in charters.requirements(charter, kind=kind, risk=risk, environment=name)
        for role in rule.roles
    )


def _rows(listed: Sequence[Proposal], charter: Mapping[str, object]) -> list[Waiting]:
    """Return each proposal with what a list tells of it, in as many queries for all as for one."""
    said: dict[UUID, list[Approval]] = defaultdict(list)
    rows = Approval.objects.filter(proposal__in=listed, withdrawn_at=None).select_related("approver").order_by("at")
    for approval in rows:
        said[approval.proposal_id].append(approval)
    checks = versions.latest_checks([row.version for row in listed])
    risks, before = _risks([row.version for row in listed]), _before(listed)
    ids = [row.version_id for row in listed]
    pins = Counter(Pin.objects.filter(version__in=ids).values_list("version_id", flat=True))
    found = []
    for row in listed:
        outcomes = Counter(check.passed for check in checks[row.version_id])
        risk, voices = risks.get(row.version_id, "low"), said[row.pk]
        lacks = _lacks(charter, row, risk, voices) if row.state == "open" else []
        once = {(voice.approver_id, voice.verdict): voice for voice in reversed(voices)}
        found.append(
            Waiting(
                row, before.get((row.version.artifact_id, row.environment_id)), risk, lacks,
                list(reversed(once.values())), outcomes[True], outcomes[False], pins[row.version_id],
            )
        )  # fmt: skip
    return found


def _lacks(charter: Mapping[str, object], row: Proposal, risk: str, voices: Iterable[Approval]) -> list[str]:
    """Return what is missing, such as "1 of 2: security"."""
    name = row.environment.name if row.environment else None
    given = [
        voice.role
        for voice in voices
        if voice.verdict == Approval.Verdict.APPROVE and voice.version_id == row.version_id
    ]
    asked = [
        f"changes, asked for by {voice.approver.get_full_name()}"
        for voice in voices
        if voice.verdict == Approval.Verdict.REQUEST_CHANGES
    ]
    lacks = []
    for rule in charters.requirements(charter, kind=row.version.kind, risk=risk, environment=name):
        count, unmet = charters.shortfall(rule, given)
        if count:
            wanted = " and ".join(unmet) if unmet else " or ".join(rule.roles)
            lacks.append(f"{rule.approvals - count} of {rule.approvals}: {wanted}")
    return [*lacks, *asked]


def _risks(those: Iterable[Version]) -> dict[UUID, str]:
    """Return the risk of each tool, and of each release that of its riskiest tool; others have none of their own."""
    by_id = {version.pk: version for version in those}
    risk = KeyTextTransform("risk", Cast(Func(F("content"), Value("UTF8"), function="convert_from"), JSONField()))
    tools = Version.objects.filter(pk__in=by_id, kind=Kind.TOOL).annotate(risk=risk).values_list("pk", "risk")
    found: dict[UUID, str] = dict(tools)
    releases = [pk for pk, version in by_id.items() if version.kind == Kind.AGENT]
    pinned = Version.objects.filter(pinned_by__version__in=releases, kind=Kind.TOOL).annotate(risk=risk)
    for release, each in pinned.values_list("pinned_by__version_id", "risk"):
        if release in by_id:
            found[release] = max(found.get(release, "low"), each, key=charters.RISKS.index)
    return found


def _before(listed: Sequence[Proposal]) -> dict[tuple[UUID, UUID | None], int]:
    """Return, by artifact and environment, the number of the version in the slot."""
    slots = Slot.objects.filter(artifact__in=[row.version.artifact_id for row in listed], version__isnull=False)
    rows = slots.values_list("artifact_id", "environment_id", "version__number")
    return {(artifact, environment): number for artifact, environment, number in rows if number is not None}
