"""Which calls somebody asks to see, found in bounded time however many there are.

One condition drives: it has an index that ends with the id, so the newest calls come without sorting. The others are
checked on at most WINDOW of the calls that it yields. Where those do not fill a page, the page ends early and says how
far back it looked; the next one goes on from there. So no choice of filters makes the database read a large table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection

from gateway import search
from gateway.models import Call
from gateway.search import Clause

PAGE = 50
WINDOW = 8_000  # calls that one page looks at: where few of them stand side by side, each costs a read
LABEL_WINDOW = 4_000  # to ask for a label costs two look-ups each
FEW = 12  # conditions that may drive together
VERDICTS: Mapping[str, tuple[str, ...]] = {
    "allow": ("decided", "completed", "failed", "unknown"),
    "deny": ("denied",),
    "hold": ("parked",),
}
# States that an index of their own holds; the rest is either nearly all calls or nearly none.
_RARE = ("parked", "denied", "failed", "unknown")
_PASSING = ("claimed", "decided")
_COLUMNS = "id, name, agent, environment, state, code, session_id, credential_id, key, correlation_id, run"
_LABELLED = """
EXISTS (SELECT 1 FROM gateway_session s JOIN gateway_sessionlabel l ON l.root_id = s.root_id
        WHERE s.id = c.session_id AND l.label = %s)
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is narrowed to; a member that is None or "" does not narrow. `text`: see gateway.search."""

    agent: str = ""
    name: str = ""
    verdict: str = ""
    state: str = ""
    code: str = ""
    label: str = ""
    environment: str = ""
    text: str = ""
    run: UUID | None = None
    session: UUID | None = None
    credential: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def given(self) -> bool:
        """Say whether anything narrows the list."""
        return any(getattr(self, name) not in (None, "") for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class Listed:
    """One page, the newest first.

    :param older: give this as `before` for the page that follows; None: there is none.
    :param newer: give this as `after` for the page before; None: this is the newest.
    :param back_to: the page ends early: only calls since then were looked at.
    :param cut: a word begins more keys or correlation ids than are followed.
    """

    calls: list[Call] = field(default_factory=list)
    older: UUID | None = None
    newer: UUID | None = None
    back_to: datetime | None = None
    cut: bool = False


def page(
    workspace: UUID, filters: Filters, *, before: UUID | None = None, after: UUID | None = None, size: int = PAGE
) -> Listed:
    """Return the calls older than `before`, or newer than `after`, or the newest."""
    words = search.words(workspace, filters.text)
    if words is not None and not all(words):
        return Listed()
    drivers, rest, window = _plan(workspace, filters, [word.clauses for word in words or ()])
    forward = after is not None and before is None
    bounds = _bounds(filters, before, after if forward else None)
    found: set[UUID] = set()
    reached: list[UUID] = []  # where a driver's window ended, of those that have more
    for driver in drivers:
        ids, last = _look(workspace, driver, rest, bounds, window // len(drivers), size + 1, forward)
        found.update(ids)
        reached += [last] if last is not None else []
    ids = sorted(found, reverse=not forward)
    edge = (min(reached) if forward else max(reached)) if reached else None
    if edge is not None:
        # Beyond the nearest edge a driver may have passed over calls that belong between these.
        ids = [id for id in ids if (id <= edge if forward else id >= edge)]
    more = ids[size - 1] if len(ids) > size else edge
    ids = ids[:size]
    calls = _fetch(ids)
    cut = any(word.cut for word in words or ())
    early = more is not None and more == edge
    if forward:
        calls.reverse()
        first, last = (ids[-1], ids[0]) if ids else (more, after)
        return Listed(calls, older=last, newer=first if more is not None else None, cut=cut)
    return Listed(
        calls,
        older=more,
        newer=(ids[0] if ids else before) if before is not None else None,
        back_to=_time(edge) if early and edge is not None else None,
        cut=cut,
    )


def _plan(
    workspace: UUID, filters: Filters, words: Sequence[Sequence[Clause]]
) -> tuple[list[Clause], list[Clause], int]:
    """Return what drives (any of them), what has to hold besides (all of them), and how many calls are looked at."""
    state, rest = _state(filters)
    # The narrowest first, as far as one can tell without counting.
    alternatives: list[list[Clause]] = [list(word) for word in sorted(words, key=len)]
    for column in ("run", "session", "credential", "code"):
        if value := getattr(filters, column):
            alternatives.append([search.exactly(column, value)])
    alternatives += [[state]] if state else []
    for column in ("name", "agent"):
        if value := getattr(filters, column):
            alternatives.append([search.exactly(column, value)])
    window = WINDOW
    if filters.label:
        sessions = _labelled(workspace, filters.label)
        if len(sessions) <= FEW:
            alternatives.insert(0, [search.exactly("session", session) for session in sessions])
        else:
            rest.append(Clause(_LABELLED, [filters.label]))
            window = LABEL_WINDOW
    if filters.environment:
        rest.append(Clause("c.environment = %s", [filters.environment]))
    first = next((one for one in alternatives if len(one) <= FEW), None)
    rest += [_any(one) for one in alternatives if one is not first]
    return first if first is not None else [Clause("true")], rest, window


def _state(filters: Filters) -> tuple[Clause | None, list[Clause]]:
    """Return the condition on the state that an index answers, and those that it does not."""
    wanted = VERDICTS.get(filters.verdict, ())
    if filters.state:
        wanted = (filters.state,) if not filters.verdict or filters.state in wanted else ()
    elif not filters.verdict:
        return None, []
    for group in (_RARE, _PASSING):
        if len(wanted) == 1 and wanted[0] in group:
            # One of our own words, written out: the planner sees that the index with that condition answers it, and a
            # second condition for its sake would make it expect a tenth of the rows.
            return Clause(f"c.state = '{wanted[0]}'"), []
    return None, [Clause("c.state = ANY(%s)", [list(wanted)])]


def _look(
    workspace: UUID, driver: Clause, rest: Sequence[Clause], bounds: Clause, window: int, wanted: int, forward: bool
) -> tuple[list[UUID], UUID | None]:
    """Return up to `wanted` ids that fit, and the last id that was looked at if there may be more beyond it."""
    way = "ASC" if forward else "DESC"
    order = f"{driver.by} {way}, c.id {way}" if driver.by else f"c.id {way}"
    where = f"c.workspace_id = %s AND {driver.sql} AND {bounds.sql}"
    inner = f"SELECT {_COLUMNS} FROM gateway_call c WHERE {where}"  # noqa: S608 - conditions are constants of ours
    given = [workspace, *driver.values, *bounds.values]
    if not rest:
        # Enough of them, and by one more it is known that there are others.
        sql, values = f"{inner} ORDER BY {order} LIMIT %s", [*given, wanted]
    else:
        within = f"{inner} ORDER BY {order} LIMIT %s"
        checks = " AND ".join(one.sql for one in rest)
        sql = f"SELECT c.id FROM ({within}) c WHERE {checks} ORDER BY {order} LIMIT %s"  # noqa: S608 - constants
        values = [*given, window, *(value for one in rest for value in one.values), wanted]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        ids = [row[0] for row in cursor.fetchall()]
        if not rest or len(ids) == wanted:
            return ids, None if len(ids) < wanted else ids[-1]
        cursor.execute(f"{inner} ORDER BY {order} OFFSET %s LIMIT 1", [*given, window - 1])
        row = cursor.fetchone()
    return ids, row[0] if row else None


def _bounds(filters: Filters, before: UUID | None, after: UUID | None) -> Clause:
    """Ids begin with their time: a range of time is a range of the primary key."""
    ends = {
        "c.id >= %s": floor(filters.since) if filters.since else None,
        "c.id < %s": floor(filters.until) if filters.until else None,
        "%s > c.id": before,
        "%s < c.id": after,
    }
    chosen = {sql: value for sql, value in ends.items() if value is not None}
    return Clause(" AND ".join(chosen) or "true", list(chosen.values()))


def _labelled(workspace: UUID, label: str) -> list[UUID]:
    """Return the sessions that carry `label`, at most one more than may drive."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.id FROM gateway_sessionlabel l JOIN gateway_session s ON s.root_id = l.root_id "
            "WHERE l.label = %s AND s.workspace_id = %s LIMIT %s",
            [label, workspace, FEW + 1],
        )
        return [row[0] for row in cursor.fetchall()]


def _fetch(ids: Sequence[UUID]) -> list[Call]:
    found = Call.objects.select_related("session").in_bulk(list(ids))
    return [found[id] for id in ids if id in found]


def _any(clauses: Sequence[Clause]) -> Clause:
    values: list[Any] = [value for one in clauses for value in one.values]
    return Clause(f"({' OR '.join(f'({one.sql})' for one in clauses)})", values)


def floor(at: datetime) -> UUID:
    """Return the least id that a row made at `at` can have."""
    return UUID(int=(max(0, int(at.timestamp() * 1000)) & (1 << 48) - 1) << 80)


def _time(id: UUID) -> datetime:
    return datetime.fromtimestamp((id.int >> 80) / 1000, tz=UTC)
