"""What was written once is written so for ever: the same bytes for the same record, and old exports still verify.

tests/audit/golden/ was written by the code of 2026-11-25 and is never written again: a change that needs it to change
needs another format version.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest

from audit import log, sealed
from tests.audit import trails

GOLDEN = Path(__file__).parent / "golden"
WORKSPACE = UUID("0197fb3c-8a00-7000-8000-000000000001")
AT = datetime(2026, 11, 25, 22, 30, 0, 120, tzinfo=UTC)
ALICE, BOB = "person:alice", "session:0197fb3c-8a00-7000-8000-000000000002"
INPUTS = (
    {},
    {
        "data": {
            "z": 1,
            "a": -(2**53) + 1,
            "é": 'žluť \n\t\x00 " \\ \u2028 €',
            "b": True,
            "n": None,
            "empty": [{}, [], ""],
        }
    },
    {"data": {"price": 12.5, "whole": 3.0, "tiny": 1e-7, "big": 1e21, "list": (1, 0.1, -0.0)}},
    {"data": {"\ue000": 1, "\U0001f600": 2, "key": {"\uffff": "😀", "\U00010000": "𐀀"}}},
    {"data": {"arguments": log.Sealed({"b": [1, {"ü": "x"}], "a": "alice@example.com"}, ALICE), "call": WORKSPACE}},
    {
        "subjects": {"call": "c" * 36, "tool": "sha256:" + "0" * 64},
        "data": {
            "received": log.Sealed({"to": "eve", "n": 1.0}, BOB),
            "decision": log.Sealed(None, BOB),
            "list": [{"a/b~c": log.Sealed("", ALICE)}, log.Sealed([], BOB)],
            "": {"": log.Sealed(0, ALICE)},
        },
        "actor": "credential:7",
        "correlation_id": "c-ž-9",
    },
    {"data": {"outcome": log.Sealed({"result": ["x" * 3000, "😀" * 40], "is_error": False}, BOB)}},
)


def write(monkeypatch) -> list[log.Entry]:
    """Append INPUTS with ids and nonces that are always the same."""
    numbers, place = count(16), 0
    stream = hashlib.shake_256(b"golden").digest(4096)

    def token_bytes(size):
        nonlocal place
        place += size
        return stream[place - size : place]

    monkeypatch.setattr(log, "uuid7", lambda: UUID(int=WORKSPACE.int + next(numbers)))
    monkeypatch.setattr(log, "secrets", SimpleNamespace(token_bytes=token_bytes))
    return [trails.append(WORKSPACE, now=AT + timedelta(seconds=number), **one) for number, one in enumerate(INPUTS)]


def bodies() -> list[bytes]:
    """Return the bodies in the old export."""
    lines = (GOLDEN / "export.ndjson").read_bytes().splitlines()
    return [line for line in lines if b'"format":"placet.record/1"' in line]


def test_the_same_record_has_the_same_bytes_as_ever(db, monkeypatch):
    entries = write(monkeypatch)
    try:
        assert [entry.body for entry in entries] == bodies()
        told = [json.loads(line) for line in (GOLDEN / "values.ndjson").read_bytes().splitlines()]
        assert len(told) == 7
        for line in told:
            assert json.loads(sealed.disclose(UUID(line["record"]), line["path"])) == line
    finally:
        trails.forget(WORKSPACE)


@pytest.mark.parametrize("more", [(), ("--values", "values.ndjson"), ("--receipt", "receipt")])
def test_an_old_export_still_verifies(tmp_path, more):
    given = [str(GOLDEN / one) if not one.startswith("--") else one for one in more]
    done = trails.run_verifier(
        tmp_path,
        GOLDEN / "export.ndjson",
        "--key",
        str(GOLDEN / "keys"),
        "--checkpoint",
        str(GOLDEN / "checkpoint"),
        *given,
    )
    assert done.returncode == 0, done.stdout + done.stderr
