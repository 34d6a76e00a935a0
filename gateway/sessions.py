"""Sessions: ids are minted here, labels only grow, and a new session is no way to lose them.

Labels belong to the tree of a root session. A session that an agent opens for itself joins the tree of its
credential's sticky session, so only somebody who may vouch for a user starts with no labels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from audit import crash, log, sealed
from audit.prepared import Prepared
from audit.refusal import Refusal
from audit.uuid7 import uuid7
from gateway.models import Session
from gateway.principal import Principal
from registry import locks, resolve
from registry.models import Person
from registry.resolve import Release

LONGEST = timedelta(hours=24)
IDLE = timedelta(hours=1)  # without a call, and without a hold that waits for a person
_LONGEST_REQUEST = 100_000  # characters
_COLUMNS = """
s.id, s.root_id, s.release, s.state, s.credential_id, s.opener, s.on_behalf_of, s.sticky,
       s.expires_at <= now()
           OR coalesce(coalesce(c.touched_at, s.opened_at) + s.idle_seconds * interval '1 s' <= now(), false)
               AND NOT EXISTS (SELECT FROM gateway_hold h JOIN gateway_call held ON held.id = h.call_id
                               WHERE held.session_id = s.id AND h.state IN ('open', 'approved')
                                 AND h.expires_at > now()),
       ARRAY(SELECT l.label FROM gateway_sessionlabel l WHERE l.root_id = s.root_id ORDER BY l.label)
"""
_FROM = "FROM gateway_session s LEFT JOIN gateway_counter c ON c.id = s.id"
_IS_STICKY = "s.credential_id = %s AND s.sticky AND s.state = 'open'"
_STICKY = Prepared(f"SELECT {_COLUMNS} {_FROM} WHERE {_IS_STICKY}")
# What is live and the session, in one statement; the columns of the release come first. Where a session is named, and
# where none is; `look` returns the parameters. The claim of a call takes them along.
LIVE = Prepared(
    f"SELECT live.*, {_COLUMNS} FROM registry_resolve(%s, %s, %s, NULL) AS live "  # noqa: S608 - constants
    f"LEFT JOIN (gateway_session s LEFT JOIN gateway_counter c ON c.id = s.id) ON {_IS_STICKY}"
)
NAMED = Prepared(
    f"SELECT kept.*, {_COLUMNS} {_FROM} "
    "LEFT JOIN registry_resolve(%s, %s, NULL, s.release) AS kept ON true "
    "WHERE s.id = %s AND s.workspace_id = %s AND s.environment = %s AND s.agent = %s"
)
_BIND = "UPDATE gateway_session SET credential_id = %s WHERE id = %s AND credential_id IS NULL"
_END = "UPDATE gateway_session SET state = %s, closed_at = now() WHERE id = %s AND state = 'open'"
# A sticky session that ran out hands its tree, and so its labels, to the next; one that a person closed does not.
_LAST_ROOT = """
SELECT root_id FROM gateway_session WHERE credential_id = %s AND sticky AND state <> 'closed' ORDER BY id DESC LIMIT 1
"""
_OPEN = """
INSERT INTO gateway_session (id, workspace_id, environment, agent, release, policy, credential_id, opener, on_behalf_of,
    request, request_source, parent_id, root_id, sticky, state, idle_seconds, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'open', %s, now() + %s * interval '1 s')
ON CONFLICT (credential_id) WHERE sticky AND state = 'open' DO NOTHING
"""
_BRANCH = """
INSERT INTO gateway_session (id, workspace_id, environment, agent, release, policy, credential_id, opener, on_behalf_of,
    request, request_source, parent_id, root_id, sticky, state, idle_seconds, expires_at)
SELECT %s, workspace_id, environment, agent, release, policy, credential_id, %s, on_behalf_of,
    NULL, 'none', id, root_id, false, 'open', NULL, now() + %s * interval '1 s'
FROM gateway_session WHERE id = %s RETURNING workspace_id, environment, agent, release
"""
_LABEL = """
INSERT INTO gateway_sessionlabel (id, root_id, label, call)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::uuid[]) ON CONFLICT (root_id, label) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Entered:
    """The session that a call runs in, as it was when the call entered."""

    id: UUID
    root: UUID
    release: str
    opener: str
    on_behalf_of: str | None
    sticky: bool
    labels: tuple[str, ...]


class _Found(NamedTuple):
    id: UUID
    root: UUID
    release: str
    state: str
    credential: UUID | None
    opener: str
    on_behalf_of: str | None
    sticky: bool
    over: bool
    labels: list[str]


def look(principal: Principal, asked: UUID | None) -> tuple[Prepared, list[Any]]:
    """Return the statement that finds session and release of a call, and its parameters."""
    workspace, environment, agent = principal.workspace, principal.environment, principal.agent
    if asked is None:
        return LIVE, [workspace, environment, agent, principal.id]
    return NAMED, [workspace, environment, asked, workspace, environment, agent]


def enter(
    principal: Principal,
    asked: UUID | None,
    *,
    now: datetime,
    correlation_id: str,
    seen: Sequence[Any] | None = None,
) -> tuple[Entered, Release]:
    """Return the session of a call and the release that it runs with.

    A named session keeps the release it was opened with. The sticky one follows the slot: a new release means a new
    session in the same tree.

    :param seen: what `look` found just now; None: it is asked for here.
    :raises Refusal: session_unknown, session_closed, session_expired, or as registry.resolve.
    """
    workspace, environment, agent = principal.workspace, principal.environment, principal.agent
    if agent is None:
        raise Refusal("session_unknown", "A person calls no tools; open a session for an agent.", status=403)
    row = seen if seen is not None else _look(principal, asked)
    if asked is not None:
        found, kept = _named(principal, asked, row)
        return _entered(found), resolve.read(kept, workspace, environment, agent=None)
    release = resolve.read(row and row[: resolve.FOUND], workspace, environment, agent=agent)
    stuck = _found(row)
    if stuck is None or stuck.over or stuck.release != release.digest:
        stuck = _stick(principal, release, stuck, now=now, correlation_id=correlation_id)
    return _entered(stuck), release


def open(
    by: Person | Principal,
    *,
    workspace: UUID,
    environment: str,
    agent: str,
    now: datetime,
    correlation_id: str,
    user_request: str | None = None,
    on_behalf_of: str | None = None,
    parent: UUID | None = None,
    bind: Principal | None = None,
    idle: timedelta | None = IDLE,
) -> Session:
    """Open a session. What the user asked is trusted only from a person, or from a credential with `sessions:open`.

    :param bind: whose calls may use it; None: the agent's that opens it, else the first credential of it that calls.
    :param idle: it expires after so long without a call; None: only its absolute limit counts.
    :param parent: a session whose labels this one shares.
    :raises Refusal: no live release, another workspace's parent, or a claim that `by` may not make.
    """
    vouched = isinstance(by, Person) or "sessions:open" in by.scopes
    if user_request is not None and len(user_request) > _LONGEST_REQUEST:
        raise Refusal(
            "request_too_long", f"The user's request may have {_LONGEST_REQUEST} characters.", field="request"
        )
    if isinstance(by, Person):
        on_behalf_of = _own_name(by, on_behalf_of)
    elif not vouched and on_behalf_of is not None:
        detail = "An agent cannot say on whose behalf it acts; let an opener or a verified token say it."
        raise Refusal("on_behalf_of_forbidden", detail, status=403, field="on_behalf_of")
    elif (by.environment, by.agent, by.workspace) != (environment, agent, workspace):
        raise Refusal("session_forbidden", "This credential belongs to another agent or environment.", status=403)
    if bind is None and not vouched and isinstance(by, Principal):
        bind = by
    if bind is not None and (bind.environment, bind.agent, bind.workspace) != (environment, agent, workspace):
        detail = "The session can only be bound to a credential of its own agent and environment."
        raise Refusal("session_forbidden", detail, status=403, field="credential")
    release = resolve.live(workspace, environment, agent)
    pk = uuid7()
    with transaction.atomic():
        root = _root(by, vouched, parent, workspace, environment, release, now=now, correlation_id=correlation_id)
        _insert(
            pk,
            release,
            credential=bind.id if bind else None,
            opener=by.actor,
            on_behalf_of=on_behalf_of,
            request=user_request,
            source="none" if user_request is None else "user" if vouched else "claimed",
            parent=parent,
            root=root,
            sticky=False,
            idle=idle,
        )
        _record("gateway.session.opened", by.actor, pk, release, now, correlation_id, trusted=vouched)
    crash.point("gateway.session_opened")
    return Session.objects.get(pk=pk)


def branch(parent: UUID, *, by: Principal, now: datetime, correlation_id: str) -> UUID:
    """Open a session beside `parent`, in the caller's transaction: same release, credential and labels; return its id.

    The parent may be closed already: this is for what has to be asked after its end.
    """
    pk = uuid7()
    with connection.cursor() as cursor:
        cursor.execute(_BRANCH, [pk, by.actor, LONGEST.total_seconds(), parent])
        workspace, environment, agent, release = cursor.fetchone()
    log.append(
        "gateway.session.opened",
        workspace=workspace,
        actor=by.actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"session": str(pk), "release": release, "parent": str(parent)},
        data={"environment": environment, "agent": agent},
    )
    return pk


def close(session: UUID, *, by: Person | Principal, now: datetime, correlation_id: str) -> Session:
    """Close a session. Its calls are decided before, or denied: the gate lets no decision by meanwhile."""
    with transaction.atomic():
        row = Session.objects.select_for_update(no_key=True).get(pk=session)
        locks.gate(row.workspace_id)
        if row.state == Session.State.OPEN:
            _finish(row, Session.State.CLOSED, by.actor, now=now, correlation_id=correlation_id)
    crash.point("gateway.session_closed")
    return row


def expire(*, now: datetime) -> int:
    """End the sessions whose idle or absolute limit has passed; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.id FROM gateway_session s LEFT JOIN gateway_counter c ON c.id = s.id
               WHERE s.state = 'open' AND (s.expires_at <= now()
                  OR coalesce(c.touched_at, s.opened_at) + s.idle_seconds * interval '1 s' <= now()
                      AND NOT EXISTS (SELECT FROM gateway_hold h JOIN gateway_call held ON held.id = h.call_id
                                      WHERE held.session_id = s.id AND h.state IN ('open', 'approved')
                                        AND h.expires_at > now()))
               ORDER BY s.id LIMIT 1000"""
        )
        over = [pk for (pk,) in cursor.fetchall()]
    ended = 0
    for pk in over:
        with transaction.atomic():
            row = Session.objects.select_for_update(no_key=True).get(pk=pk)
            if row.state == Session.State.OPEN:
                _finish(row, Session.State.EXPIRED, "system:sweeper", now=now, correlation_id=str(uuid7()))
                ended += 1
        crash.point("gateway.session_expired")
    return ended


def label(cursor: CursorWrapper, root: UUID, labels: Iterable[str], *, call: UUID | None) -> None:
    """Add `labels` to the tree of `root`, in the caller's transaction. Labels only grow.

    :param call: that brings them; None: what the agent remembered does.
    """
    wanted = sorted(set(labels))
    if wanted:
        count = len(wanted)
        cursor.execute(_LABEL, [[uuid7() for _ in wanted], [root] * count, wanted, [call] * count])


def labels_of(root: UUID) -> list[str]:
    """Return the labels of the tree of `root`, sorted."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT label FROM gateway_sessionlabel WHERE root_id = %s ORDER BY label", [root])
        return [text for (text,) in cursor.fetchall()]


def policies_in_use(environment: UUID, using: str) -> set[str]:
    """Return the digests of the policies that open sessions of `environment` still run under."""
    rows = Session.objects.using(using).raw(
        """SELECT DISTINCT ON (s.policy) s.id, s.policy FROM gateway_session s
           JOIN registry_environment e ON e.workspace_id = s.workspace_id AND e.name = s.environment
           WHERE e.id = %s AND s.state = 'open'""",
        [environment],
    )
    return {row.policy for row in rows}


def _look(principal: Principal, asked: UUID | None) -> Sequence[Any] | None:
    with connection.cursor() as cursor:
        cursor.execute(*look(principal, asked))
        row: Sequence[Any] | None = cursor.fetchone()
    return row


def _found(row: Sequence[Any] | None) -> _Found | None:
    """Return the session of a row that `look` found, None if there is none in it."""
    return _Found(*row[resolve.FOUND :]) if row is not None and row[resolve.FOUND] is not None else None


def _named(principal: Principal, asked: UUID, row: Sequence[Any] | None) -> tuple[_Found, Sequence[Any] | None]:
    """Return a session that the caller may use, and what registry_resolve says of its release."""
    found = _found(row)
    if found and found.credential is None and found.state == "open":
        with connection.cursor() as cursor:
            cursor.execute(_BIND, [principal.id, asked])
        row = _look(principal, asked)
        found = _found(row)
    # One answer for what does not exist, is another's, or is the sticky one, which goes without a name.
    if not found or found.credential != principal.id or found.sticky:
        raise Refusal("session_unknown", "There is no such session for this credential.", status=403, field="session")
    if found.state == "closed":
        raise Refusal("session_closed", "The session was closed; open a new one.", status=403, field="session")
    if found.state == "expired" or found.over:
        raise Refusal("session_expired", "The session has expired; open a new one.", status=403, field="session")
    return found, row and row[: resolve.FOUND]


def _sticky(credential: UUID) -> _Found | None:
    with connection.cursor() as cursor:
        cursor.execute(_STICKY, [credential])
        row = cursor.fetchone()
    return _Found(*row) if row else None


def _stick(principal: Principal, release: Release, old: _Found | None, *, now: datetime, correlation_id: str) -> _Found:
    """Mint the sticky session of a credential, or find the one that another thread has just minted."""
    with transaction.atomic(), connection.cursor() as cursor:
        if old is not None:
            cursor.execute(_END, ["expired", old.id])
            if cursor.rowcount:
                _record("gateway.session.expired", "system:gateway", old.id, release, now, correlation_id)
        cursor.execute(_LAST_ROOT, [principal.id])
        root = cursor.fetchone()
        pk = uuid7()
        made = _insert(
            pk,
            release,
            credential=principal.id,
            opener=principal.actor,
            on_behalf_of=None,
            request=None,
            source="none",
            parent=None,
            root=root[0] if root else None,
            sticky=True,
            idle=None,
        )
        if made:
            _record("gateway.session.opened", principal.actor, pk, release, now, correlation_id, sticky=True)
    crash.point("gateway.session_stuck")
    found = _sticky(principal.id)
    if found is None:
        raise Refusal("session_closed", "The session was closed meanwhile; try again.", status=409)
    return found


def _root(
    by: Person | Principal,
    vouched: bool,
    parent: UUID | None,
    workspace: UUID,
    environment: str,
    release: Release,
    *,
    now: datetime,
    correlation_id: str,
) -> UUID | None:
    """Return the root of the tree that the new session joins, None for a tree of its own."""
    if parent is not None:
        row = Session.objects.filter(pk=parent, workspace_id=workspace, environment=environment, state="open").first()
        if row is None or not (vouched or row.credential_id == by.id):
            raise Refusal("session_unknown", "There is no such open parent session.", status=404, field="parent")
        return row.root_id
    if vouched or not isinstance(by, Principal):
        return None
    stuck = _sticky(by.id) or _stick(by, release, None, now=now, correlation_id=correlation_id)
    return stuck.root


def _insert(
    pk: UUID,
    release: Release,
    *,
    credential: UUID | None,
    opener: str,
    on_behalf_of: str | None,
    request: str | None,
    source: str,
    parent: UUID | None,
    root: UUID | None,
    sticky: bool,
    idle: timedelta | None,
) -> bool:
    """Insert a session; False if the credential has an open sticky one already."""
    subject = on_behalf_of or f"session:{pk}"
    blob = None if request is None else sealed.seal_blob(request, workspace=release.workspace, subject=subject)
    where: list[Any] = [pk, release.workspace, release.environment, release.agent, release.digest, release.policy]
    seconds = int(idle.total_seconds()) if idle is not None else None
    with connection.cursor() as cursor:
        cursor.execute(
            _OPEN,
            [
                *where,
                credential,
                opener,
                on_behalf_of,
                blob,
                source,
                parent,
                root or pk,
                sticky,
                seconds,
                LONGEST.total_seconds(),
            ],
        )
        return bool(cursor.rowcount)


def _entered(found: _Found) -> Entered:
    return Entered(
        found.id, found.root, found.release, found.opener, found.on_behalf_of, found.sticky, tuple(found.labels)
    )


def _own_name(person: Person, asked: str | None) -> str:
    if asked not in (None, person.actor):
        detail = "A person opens sessions in their own name."
        raise Refusal("on_behalf_of_forbidden", detail, status=403, field="on_behalf_of")
    return person.actor


def _finish(row: Session, state: str, actor: str, *, now: datetime, correlation_id: str) -> None:
    row.state, row.closed_at = state, now
    row.save(update_fields=["state", "closed_at"])
    log.append(
        f"gateway.session.{state}",
        workspace=row.workspace_id,
        actor=actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"session": str(row.pk)},
        data={"environment": row.environment, "agent": row.agent, "release": row.release},
    )


def _record(
    event: str, actor: str, session: UUID, release: Release, now: datetime, correlation_id: str, **data: object
) -> None:
    log.append(
        event,
        workspace=release.workspace,
        actor=actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"session": str(session), "release": release.digest},
        data={"environment": release.environment, "agent": release.agent, **data},
    )
