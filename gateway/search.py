"""What a person types to find calls: names, agents, codes, keys, correlation ids, and any id.

Arguments and results are sealed and cannot be searched. Tools, agents and codes are few words that many calls share: a
text may stand anywhere in them. Keys and correlation ids are many: they are found by how they begin. An id finds its
call, or the calls of its session, run, credential, hold or record.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from audit import records
from gateway.models import Hold

MOST_WORDS = 5
SHORTEST = 3  # characters of a beginning
MOST = 1000  # calls whose key or correlation id begins so
_LARGEST_VOCABULARY = 500
_LAST = chr(0x10FFFF)
SHARED = ("name", "agent", "code")
_EXACT = {
    "id": "c.id = %s",
    "run": "c.run IS NOT NULL AND c.run ->> 'id' = %s",
}
# Many calls may share these. Asked for as a range of one value and ordered by it, so that only the index on it fits:
# by equality the planner would walk back through all calls where it believes the value to be frequent.
_SHARING = {
    "session": "c.session_id",
    "credential": "c.credential_id",
    "code": "c.code",
    "name": "c.name",
    "agent": "c.agent",
}
# Each step of the recursion is one look into an index: the distinct words cost nothing else.
_DISTINCT = """
WITH RECURSIVE word AS (
    (SELECT {0} AS said FROM gateway_call WHERE workspace_id = %s AND {1} ORDER BY {0} LIMIT 1)
    UNION ALL
    SELECT (SELECT {0} FROM gateway_call WHERE workspace_id = %s AND {1} AND {0} > word.said ORDER BY {0} LIMIT 1)
    FROM word WHERE word.said IS NOT NULL)
SELECT said FROM word WHERE said IS NOT NULL LIMIT %s
"""
_BEGINNING = """
SELECT id FROM gateway_call WHERE workspace_id = %s AND {0} COLLATE "C" >= %s AND {0} COLLATE "C" < %s
ORDER BY {0} COLLATE "C" LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition on `gateway_call c`, with its values. `by`: the column whose index answers it, if one is meant."""

    sql: str
    values: Sequence[Any] = ()
    by: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """What one word of a search means: any of the clauses. `cut`: it begins more than MOST keys."""

    clauses: list[Clause]
    cut: bool = False

    def __bool__(self) -> bool:
        return bool(self.clauses)


def exactly(column: str, value: object) -> Clause:
    """Return the condition that a call has this value; `column` is a key of _EXACT or _SHARING."""
    if place := _SHARING.get(column):
        there = "c.code <> '' AND " if column == "code" else ""
        return Clause(f"{there}{place} >= %s AND {place} <= %s", [value, value], place)
    return Clause(_EXACT[column], [str(value) if column == "run" else value])


def words(workspace: UUID, text: str) -> list[Word] | None:
    """Return what each word of `text` means, all of which must hold; None if there is no word."""
    given = text.split()[:MOST_WORDS]
    if not given:
        return None
    known = [(column, said) for column in SHARED for said in vocabulary(workspace, column)]
    return [_word(workspace, word, known) for word in given]


def vocabulary(workspace: UUID, column: str) -> list[str]:
    """Return the different tools and models, agents or codes of a workspace's calls. `column`: one of SHARED."""
    if column not in SHARED:
        raise ValueError(f"{column!r} is not a column of few words.")
    sql = _DISTINCT.format(column, "code <> ''" if column == "code" else "true")
    with connection.cursor() as cursor:
        cursor.execute(sql, [workspace, workspace, _LARGEST_VOCABULARY])
        return [row[0] for row in cursor.fetchall()]


def _word(workspace: UUID, word: str, known: Sequence[tuple[str, str]]) -> Word:
    try:
        id = UUID(word)
    except ValueError:
        pass
    else:
        return Word([*_of_id(workspace, id), *_begins(workspace, str(id))[0]])
    lowered = word.lower()
    shared = [
        exactly(column, said) for column in SHARED for said in vocabulary(workspace, column) if lowered in said.lower()
    ]
    begins, cut = _begins(workspace, word)
    return Word([*shared, *begins], cut)


def _of_id(workspace: UUID, id: UUID) -> Iterator[Clause]:
    yield from (exactly(column, id) for column in ("id", "session", "credential", "run"))
    hold = Hold.objects.filter(pk=id, workspace_id=workspace).values_list("call_id", flat=True).first()
    if hold is not None:
        yield exactly("id", hold)
    for record in records.find(workspace, [id]):
        if call := record.body["subjects"].get("call"):
            yield exactly("id", UUID(call))


def _begins(workspace: UUID, word: str) -> tuple[list[Clause], bool]:
    """Return the calls whose key or correlation id begins with `word`, and whether there are more than MOST."""
    if len(word) < SHORTEST:
        return [], False
    found: list[UUID] = []
    cut = False
    with connection.cursor() as cursor:
        for column in ("key", "correlation_id"):
            cursor.execute(_BEGINNING.format(column), [workspace, word, word + _LAST, MOST + 1])
            ids = [row[0] for row in cursor.fetchall()]
            cut = cut or len(ids) > MOST
            found += ids[:MOST]
    return ([Clause("c.id = ANY(%s)", [found])] if found else []), cut
