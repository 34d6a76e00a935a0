"""What happens in an installation of a test: `python -m tests.recovery.acts WHAT …`, with its PLACET_HOME.

Through the product's own functions, as the runtime role. What a test has to know is printed as one line of JSON.
"""

import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import django

PEOPLE = ("adam", "olga", "mallory")
THREADS = 4


def found(slug="w"):
    """Found a workspace: olga is its operator, mallory nothing."""
    from registry import memberships, workspaces
    from registry.models import Person

    now = datetime.now(UTC)
    people = {name: Person.objects.create_user(name, f"{name}@example.com", "correct horse") for name in PEOPLE}
    made = workspaces.init(slug, "W", admin=people["adam"], now=now)
    member = memberships.add(made, people["olga"], actor=people["adam"], now=now, correlation_id="acts")
    memberships.grant(member, "operator", environment=None, actor=people["adam"], now=now, correlation_id="acts")
    return {"workspace": str(made.pk)}


def write(workspace, count):
    """Append records and return their receipts: each was acknowledged."""
    return {"receipts": [_append(workspace) for _ in range(int(count))]}


def reveal(workspace):
    """Open the sealed value of the newest record that has one."""
    from audit import records, sealed

    newest = records.newest(UUID(workspace), event="audit.subject.erased", limit=1)[0]
    return {"value": sealed.open_value(newest.id, "/data/secret")}


def restore_in_doubt(directory):
    """Restore a backup over a connection that is lost when the commit is done and nobody has been told."""
    from config import dump, restoration

    def run(*arguments, **named):
        whole(*arguments, **named)
        raise dump.Failed("pg_restore failed: the server closed the connection")

    whole, dump.run = dump.run, run
    try:
        restoration.restore(Path(directory))
    except restoration.Refused as refused:
        return {"refused": str(refused)}


def load(workspace, file):
    """Append records in several threads until we are killed; each line of `file` is a receipt that was given out."""
    lock = threading.Lock()

    def work():
        while True:
            receipt = _append(workspace)
            with lock, Path(file).open("a") as told:
                told.write(receipt + "\n")

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    print("going", flush=True)
    for thread in threads:
        thread.join()


def _append(workspace):
    from django.db import transaction

    from audit import log, receipts

    with transaction.atomic():
        entry = log.append(
            "audit.subject.erased",
            workspace=UUID(workspace),
            actor="system:test",
            correlation_id="acts",
            now=datetime.now(UTC),
            data={"key": None, "secret": log.Sealed("alice@example.com", subject="alice")},
        )
    return receipts.issue(entry)


def main(words):
    """Do what the words say, and tell what came of it."""
    able = {"found": found, "write": write, "load": load, "reveal": reveal, "restore_in_doubt": restore_in_doubt}
    result = able[words[0]](*words[1:])
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    django.setup()
    main(sys.argv[1:])
