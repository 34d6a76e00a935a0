"""State: what an agent remembers between its sessions, written by compare-and-set, with the labels of what it knew.

A value carries the labels of the session that wrote it, and gives them to every session that reads it: what came from
outside stays known as such however long it lies. Each write is a record, which holds the value, sealed.
"""

import re
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from audit import crash, log, sealed
from audit.canonical import JSON
from audit.refusal import Refusal, not_found
from gateway import contract, credentials, sessions
from gateway.models import State
from gateway.principal import Principal
from gateway.sessions import Entered
from registry import stops

SCOPE = "states:use"
LARGEST = 65_536  # bytes of canonical JSON
MOST = 1000  # keys of one agent in one environment
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")


class Value(NamedTuple):
    """A value as it is read. :param labels: of the session, those of the value included."""

    row: State
    value: JSON
    labels: list[str]


def read(by: Principal, key: str, *, session: UUID | None, now: datetime, correlation_id: str) -> Value:
    """Return what the agent remembers under `key`; its labels are on the session before this returns.

    :raises Refusal: scope_missing, stopped, not_found; state_erased (410): its data subject is gone; as sessions.enter.
    """
    _check(by, key)
    row = _find(by, key)
    place = _enter(by, session, now=now, correlation_id=correlation_id)
    new = sorted(set(row.labels) - set(place.labels))
    if new:
        with transaction.atomic(), connection.cursor() as cursor:
            sessions.label(cursor, place.root, new, call=None)
            _record("gateway.state.read", by, row, place, now, correlation_id, {"labels": new})
        crash.point("gateway.state_labelled")
    try:
        value = sealed.open_value(row.record, "/data/value")
    except sealed.Erased as erased:
        detail = "The value was erased with its data subject; write another one, or delete the key."
        raise Refusal("state_erased", detail, status=410) from erased
    return Value(row, value, sorted({*place.labels, *new}))


def write(
    by: Principal,
    key: str,
    value: JSON,
    *,
    expected: UUID | None,
    session: UUID | None,
    now: datetime,
    correlation_id: str,
) -> State:
    """Remember `value` under `key`, if nobody has written there since.

    :param expected: the record of the version that is replaced; None: there is none yet.
    :raises Refusal: scope_missing, stopped, state_key_invalid, state_too_large, state_full (409);
        state_changed (412): it is not the expected version any more; as sessions.enter.
    """
    _check(by, key)
    raw = contract.check_size(value, code="state_too_large", what="value")
    if len(raw) > LARGEST:
        detail = f"The value has {len(raw)} bytes; at most {LARGEST} are kept under one key."
        raise Refusal("state_too_large", detail, field="value")
    place = _enter(by, session, now=now, correlation_id=correlation_id)
    with transaction.atomic():
        row = _locked(by, key)
        if (row.record if row else None) != expected:
            raise _changed()
        if row is None:
            row = State(workspace_id=by.workspace, environment=by.environment, agent=by.agent or "", key=key, version=0)
        row.version, row.bytes, row.written_by, row.written_at = row.version + 1, len(raw), by.actor, now
        row.labels = sessions.labels_of(place.root)
        subject = by.on_behalf_of or place.on_behalf_of or f"agent:{by.environment}/{by.agent}"
        said = {"labels": row.labels, "value": log.Sealed(value, subject)}
        row.record = _record("gateway.state.written", by, row, place, now, correlation_id, said).id
        row.save()
    crash.point("gateway.state_written")
    return row


def delete(
    by: Principal, key: str, *, expected: UUID, session: UUID | None, now: datetime, correlation_id: str
) -> None:
    """Forget what stands under `key`. :raises Refusal: not_found, state_changed (412), as `write`."""
    _check(by, key)
    place = _enter(by, session, now=now, correlation_id=correlation_id)
    with transaction.atomic():
        row = _locked(by, key)
        if row is None:
            raise not_found("state")
        if row.record != expected:
            raise _changed()
        _record("gateway.state.deleted", by, row, place, now, correlation_id, {})
        row.delete()
    crash.point("gateway.state_deleted")


def _check(by: Principal, key: str) -> None:
    credentials.check_scope(by, SCOPE)
    if not _KEY.fullmatch(key):
        detail = "A key has 1 to 200 letters, digits and _ . : -, and begins with a letter or digit."
        raise Refusal("state_key_invalid", detail, field="key")
    if stops.check(by.workspace, agent=by.agent or ""):
        raise Refusal("stopped", "A stop is in force for this agent.", status=403)


def _enter(by: Principal, session: UUID | None, *, now: datetime, correlation_id: str) -> Entered:
    return sessions.enter(by, session, now=now, correlation_id=correlation_id)[0]


def _find(by: Principal, key: str) -> State:
    row = State.objects.filter(**_place(by), key=key).first()
    if row is None:
        raise not_found("state")
    return row


def _locked(by: Principal, key: str) -> State | None:
    """Return the row under `key`, None if there is none; nobody else writes for this agent until the transaction ends.

    :raises Refusal: state_full, for a new key.
    """
    with connection.cursor() as cursor:
        lock = f"gateway.states {by.workspace}/{by.environment}/{by.agent}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
    row = State.objects.filter(**_place(by), key=key).first()
    if row is None and State.objects.filter(**_place(by)).count() >= MOST:
        detail = f"The agent remembers {MOST} keys already, which is all that it may; delete one."
        raise Refusal("state_full", detail, status=409)
    return row


def _place(by: Principal) -> dict[str, Any]:
    return {"workspace_id": by.workspace, "environment": by.environment, "agent": by.agent or ""}


def _changed() -> Refusal:
    detail = "Somebody has written there meanwhile, or nothing stands there: read it again and decide anew."
    return Refusal("state_changed", detail, status=412, field="If-Match")


def _record(
    event: str, by: Principal, row: State, place: Entered, now: datetime, correlation_id: str, data: dict[str, Any]
) -> log.Entry:
    about = {"environment": row.environment, "agent": row.agent, "key": row.key, "version": row.version}
    return log.append(
        event,
        workspace=by.workspace,
        actor=by.actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"state": str(row.pk), "session": str(place.id)},
        data=about | data,
    )
