"""The database refuses to change the trail, whichever role asks; measured with raw SQL past all of our code."""

from uuid import uuid4

import psycopg
import pytest
from django.db import ProgrammingError, connections

from tests.audit import trails

RUNTIME = ("web", "worker", "sequencer", "publisher", "bundler")
TABLES = ("record", "pending", "leaf", "tile", "head", "checkpoint", "valuekey", "sealedvalue")
CHANGES = (
    "UPDATE audit_{table} SET workspace = workspace",
    "DELETE FROM audit_{table}",
    "TRUNCATE audit_{table}",
    "INSERT INTO audit_{table} SELECT * FROM audit_{table} LIMIT 0",
)
# What each process needs, and nobody else may.
ALLOWED = {
    ("sequencer", "pending", "DELETE"),
    ("sequencer", "leaf", "INSERT"),
    ("sequencer", "tile", "INSERT"),
    ("sequencer", "tile", "UPDATE"),
    ("sequencer", "head", "INSERT"),
    ("sequencer", "head", "UPDATE"),
    ("publisher", "checkpoint", "INSERT"),
    ("web", "record", "INSERT"),
    ("worker", "record", "INSERT"),
    ("bundler", "record", "INSERT"),
    ("web", "valuekey", "INSERT"),
    ("worker", "valuekey", "INSERT"),
    ("web", "valuekey", "DELETE"),
    ("worker", "valuekey", "DELETE"),
    ("web", "sealedvalue", "INSERT"),
    ("worker", "sealedvalue", "INSERT"),
}


def refusal(alias, statement, parameters=()):
    """Return what the database says to `statement`; None if it obeyed."""
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(statement, parameters)
    except ProgrammingError as error:
        return str(error)
    return None


@pytest.mark.parametrize("role", RUNTIME)
def test_each_role_may_do_its_part_and_nothing_else(db, role):
    trails.published(3)
    for table in TABLES:
        for change in CHANGES:
            verb = change.split()[0]
            if (role, table, verb) in ALLOWED:
                # Its own verb is proven by the tests that use it; TRUNCATE never is anybody's.
                continue
            said = refusal(role, change.format(table=table))
            assert said, (role, table, verb)
            assert "permission denied" in said


@pytest.mark.parametrize("role", RUNTIME)
def test_no_runtime_role_can_switch_the_guards_off(db, role):
    for statement in (
        "ALTER TABLE audit_record DISABLE TRIGGER ALL",
        "ALTER TABLE audit_record DISABLE TRIGGER audit_record_pending",
        "DROP TRIGGER audit_record_append_only ON audit_record",
        "DROP TABLE audit_checkpoint",
        "SET session_replication_role = replica",
        "CREATE FUNCTION public.sneak() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE public.audit_other (id int)",
        "CREATE TEMP TABLE audit_pending (workspace uuid, record uuid, leaf_hash bytea)",
        "SET ROLE placet_owner",
    ):
        assert refusal(role, statement), (role, statement)
    # A grant of what one does not hold is only a warning: what counts is that nothing was granted.
    refusal(role, f"GRANT ALL ON audit_record TO placet_{role}")
    assert "permission denied" in refusal(role, "DELETE FROM audit_record")


def test_even_the_owner_cannot_change_what_was_written(db):
    workspace = trails.published(300)
    for table in ("record", "leaf", "checkpoint"):
        for change in CHANGES[:3]:
            assert "append-only" in refusal("owner", change.format(table=table))
    for table in ("tile", "head"):
        for change in CHANGES[1:3]:
            assert "append-only" in refusal("owner", change.format(table=table))
    for statement in (
        "UPDATE audit_tile SET hashes = substr(hashes, 1, 32) WHERE workspace = %s",
        "UPDATE audit_tile SET hashes = hashes WHERE workspace = %s AND octet_length(hashes) = 8192",
        "UPDATE audit_tile SET hashes = sha256('x') || hashes WHERE workspace = %s AND octet_length(hashes) < 8192",
        "UPDATE audit_tile SET n = n + 1 WHERE workspace = %s",
        "UPDATE audit_head SET size = size - 1 WHERE workspace = %s",
        "UPDATE audit_head SET root = sha256('x') WHERE workspace = %s",
    ):
        for alias in ("owner", "sequencer"):
            assert "append-only" in refusal(alias, statement, [workspace])


def test_the_guards_hold_in_replica_mode_too(doomed):
    """A superuser gets past plain triggers with session_replication_role; past ENABLE ALWAYS not."""
    workspace = trails.published(1, doomed)
    with trails.superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        for change in CHANGES[:3]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                connection.execute(change.format(table="record"))
        record, body = uuid4(), b'{"format":"none"}'
        connection.execute(
            "INSERT INTO audit_record VALUES (%s, %s, 'e', 'a', 'c', %s, sha256('\\x00'::bytea || %s))",
            [record, workspace, body, body],
        )
        pending = connection.execute("SELECT 1 FROM audit_pending WHERE record = %s", [record]).fetchone()
    assert pending == (1,)


def test_nothing_in_a_writers_session_can_stand_in_for_pending(doomed):
    """The trigger's function names its table by schema and fixes its search path."""
    workspace = doomed
    with trails.superuser() as connection:
        connection.execute("CREATE TEMP TABLE audit_pending (workspace uuid, record uuid, leaf_hash bytea)")
        connection.execute("SET search_path = pg_temp, public")
        body = b"{}"
        connection.execute(
            "INSERT INTO audit_record VALUES (gen_random_uuid(), %s, 'e', 'a', 'c', %s, sha256('\\x00'::bytea || %s))",
            [workspace, body, body],
        )
        counts = [
            connection.execute(
                f"SELECT count(*) FROM {schema}.audit_pending WHERE workspace = %s", [workspace]
            ).fetchone()
            for schema in ("public", "pg_temp")
        ]
    assert counts == [(1,), (0,)]
