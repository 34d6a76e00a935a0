"""Builders of logs for the tests of the trail."""

import base64
import contextlib
import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import connections, transaction

from audit import export, keys, log, publisher, sequencer, verify

ROOT = Path(__file__).resolve().parents[2]
EVENT = "audit.subject.erased"
ACTOR = "system:test"


def append(workspace: UUID, data=None, *, using="default", **members) -> log.Entry:
    """Append one record in a transaction of its own."""
    given: dict[str, Any] = {"actor": ACTOR, "correlation_id": "c-1", "now": datetime.now(UTC)} | members
    with transaction.atomic(using=using):
        return log.append(given.pop("event", EVENT), workspace=workspace, data=data or {}, using=using, **given)


def write(workspace: UUID, count: int) -> list[log.Entry]:
    """Append `count` different records."""
    return [append(workspace, {"n": at, "text": f"record {at} žluť \n \U0001f600"}) for at in range(count)]


def publish(workspace: UUID) -> str:
    """Put everything pending into the tree and sign it; return the newest checkpoint's note."""
    sequencer.drain(workspace, using="sequencer")
    publisher.publish(workspace, using="publisher")
    return publisher.copy_path(workspace).read_text()


def published(count: int, workspace: UUID | None = None) -> UUID:
    """Return a log, new if none is named, to which `count` records were added, under a checkpoint."""
    workspace = workspace or uuid4()
    write(workspace, count)
    publish(workspace)
    return workspace


def exported(workspace: UUID, **options) -> bytes:
    """Return a whole export."""
    return b"".join(export.stream(workspace, **options))


def key_of(workspace: UUID) -> str:
    """Return the log's public key."""
    return keys.checkpoint(workspace).public


def another_key(name: str) -> keys.SigningKey:
    """Return a key that nobody pinned, under the log's own name."""
    return keys._assemble(name, Ed25519PrivateKey.generate().private_bytes_raw())


def superuser() -> psycopg.Connection:
    """Connect as the one that no grant binds: what an attacker with the whole database can do."""
    password = (Path(settings.PLACET_HOME) / "secrets" / "database_superuser").read_text().strip()
    place = connections["default"].settings_dict
    return psycopg.connect(
        host=place["HOST"], dbname=place["NAME"], user="postgres", password=password, autocommit=True
    )


def tamper(table: str, statement: str, *parameters) -> None:
    """Change the database past every trigger."""
    with superuser() as connection:
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        connection.execute(statement, parameters)
        triggers = connection.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal", [table]
        ).fetchall()
        for (name,) in triggers:
            connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def lose_commit() -> None:
    """Make the present transaction one that ends without an error and without a commit.

    A savepoint is given up, and the connection is lost before it can be rolled back to: Django then keeps silent.
    """
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        with superuser() as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        raise ZeroDivisionError


def run_verifier(directory: Path, export_file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of verify.py in `directory`, isolated from this project and from every installed package."""
    copy = directory / "verify.py"
    copy.write_bytes((ROOT / "audit" / "verify.py").read_bytes())
    command = [sys.executable, "-I", "-S", str(copy), str(export_file), *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"})


def manage(*arguments: str, process: str, **environment: str) -> subprocess.Popen[str]:
    """Start a management command as the real process would be started."""
    variables = os.environ | {"PLACET_PROCESS": process, "DJANGO_SETTINGS_MODULE": "config.settings"} | environment
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def note(key: keys.SigningKey, size: int, root: bytes) -> str:
    """Return a checkpoint signed by `key`."""
    return key.sign_note(f"{key.name}\n{size}\n{base64.b64encode(root).decode()}\n")


def evidence(workspace: UUID, *notes: str, receipts=()) -> verify.Evidence:
    """Return what an auditor holds who pinned the right keys."""
    pinned = [verify.read_key(key_of(workspace)), verify.read_key(keys.receipt().public)]
    held = [verify.open_checkpoint(one, pinned) for one in notes]
    return verify.Evidence(pinned, held, [verify.open_receipt(one, pinned) for one in receipts])


def file(content: bytes) -> io.BytesIO:
    """Return `content` as verify_export reads it."""
    return io.BytesIO(content)


def forget(workspace: UUID) -> None:
    """Remove everything of a log, past every trigger."""
    for table in ("record", "pending", "leaf", "tile", "head", "checkpoint", "valuekey", "sealedvalue", "halt"):
        tamper(f"audit_{table}", f"DELETE FROM audit_{table} WHERE workspace = %s", workspace)
    publisher.copy_path(workspace).unlink(missing_ok=True)
