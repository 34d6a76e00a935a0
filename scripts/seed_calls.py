"""Fill a development installation with calls, to see pages at the size that they are made for.

    python scripts/seed_calls.py million --calls 1000000

It asks for the database owner's role, so only who may migrate may seed. It refuses where it could be mistaken for the
truth: on a database that is not the embedded one, and beside calls of a protected environment.
"""

import argparse
import getpass
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)
os.environ["PLACET_PROCESS"] = "owner"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django  # noqa: E402

TABLES = (
    "gateway_call", "gateway_attempt", "gateway_session", "gateway_sessionlabel", "gateway_hold", "gateway_tally", "agents_run",
    "audit_record", "audit_leaf", "audit_pending", "audit_tile", "audit_sealedvalue",
)  # fmt: skip


def main() -> int:
    """Seed. :returns: 0, or 1 if this is no place to seed."""
    parser = argparse.ArgumentParser(description="Fill a development installation with calls.")
    parser.add_argument("workspace", help="slug of the workspace that is made for them")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--ask-password", action="store_true", help="ask for a password of the workspace's people")
    parser.add_argument("--json", type=Path, help="write what was made to this file")
    options = parser.parse_args()
    django.setup()
    # They read the settings.
    from django.db import connection
    from django.utils import timezone

    from benchmarks import seed
    from gateway import tallies

    if problem := _refusal(options.workspace):
        print(problem, file=sys.stderr)
        return 1
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {line}", flush=True)

    password = getpass.getpass("Password of its people: ") if options.ask_password else ""
    made = seed.make(options.workspace, options.calls, password=password, say=say)
    seed.integrate(made.workspace.pk, using="default", say=say)
    for _ in range(seed.DAYS + 1):
        tallies.roll_up(timezone.now())
    say("tallies")
    with connection.cursor() as cursor:
        for table in TABLES:
            # As autovacuum does in time; a page that is looked at before that would meet a planner that knows nothing.
            cursor.execute(f"VACUUM (ANALYZE) {table}")
    say(f"done: {made.calls:,} calls; people {options.workspace}-adam, -alice, -bob, -dave")
    if options.json:
        document = {
            "workspace": made.workspace.slug,
            "person": made.person.username,
            "calls": made.calls,
            "seconds": round(time.monotonic() - begun, 1),
            "sampled": [str(one) for one in made.sampled],
            "session": str(made.session),
            "run": str(made.run),
        }
        options.json.write_text(json.dumps(document))
    return 0


def _refusal(slug: str) -> str:
    """Return why nothing may be seeded here; "" if it may."""
    from config import env
    from gateway.models import Call
    from registry.models import Environment, Workspace

    if env.read().database_url:
        return "This installation's database is not the embedded one: seed a development installation."
    if Workspace.objects.filter(slug=slug).exists():
        return f"There is a workspace {slug} already; name one that is not."
    for place in Environment.objects.filter(protected=True).exclude(workspace__name="Seeded"):
        if Call.objects.filter(workspace_id=place.workspace_id, environment=place.name).exists():
            return f"The workspace {place.workspace} has calls in {place.name}: seed an installation without real work."
    return ""


if __name__ == "__main__":
    sys.exit(main())
