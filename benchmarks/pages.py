"""`python benchmarks/pages.py`: how long pages take with a million calls, on a real installation of its own.

Loopback only, one reader, over HTTP with a browser's cookie. Each address is asked a few times to warm up, then timed.
"""

import argparse
import json
import logging
import math
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks import calls as bench  # noqa: E402

LIST_MS, CALL_MS, LARGEST = 300.0, 150.0, 100_000  # goals; bytes
TIMES = 15


def main() -> int:
    """Seed, measure, print. :returns: 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--verbose", dest="quiet", action="store_false", help="show what the processes say")
    parser.add_argument("--keep", action="store_true", help="go on running until Ctrl-C, to look around")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "pages.json", help="the JSON file")
    options = parser.parse_args()
    bench._prepare()
    # They read the settings that have just been chosen.
    from benchmarks import machine  # noqa: PLC0415
    from benchmarks.installation import Installation  # noqa: PLC0415
    from config import env  # noqa: PLC0415
    from config.supervisor import write  # noqa: PLC0415

    quiet = (lambda name, line: None) if options.quiet else write
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with Installation(env.read(), write=quiet) as installation:
        facts = machine.facts(installation.data)
        seeded = _seed(options.calls, options.out.with_suffix(".seed.json"))
        rows = _measure(seeded)
        sizes = _sizes()
        document: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "revision": bench._revision(),
        }
        document |= {"machine": facts, "calls": options.calls, "seeded_s": seeded["seconds"]}
        options.out.write_text(json.dumps(document | {"pages": rows, "tables": sizes}, indent=1) + "\n")
        print(f"{options.calls:,} calls seeded in {seeded['seconds']:.0f} s; load {os.getloadavg()[0]:.1f}")
        for row in rows:
            missed = "" if row["held"] else "  MISSED"
            print(f"{row['p50_ms']:8.1f} {row['p95_ms']:8.1f} ms {row['bytes'] / 1000:7.1f} kB  {row['page']}{missed}")
        for table, size in sizes.items():
            print(f"{size / 1e6:10,.0f} MB  {table}")
        if options.keep:
            from django.conf import settings  # noqa: PLC0415

            print(f"{settings.PLACET_URL}/w/{seeded['workspace']}/ with the cookie placet_session={_cookie(seeded)}")
            input("Enter ends it. ")
    return 0 if all(row["held"] for row in rows) else 1


def _seed(count: int, into: Path) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "scripts" / "seed_calls.py"), "million", "--calls", str(count)]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run([*command, "--json", str(into)], check=True, env=environment)
    return dict(json.loads(into.read_text()))


def _addresses(seeded: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Return (what, address, goal in ms)."""
    from benchmarks import seed  # noqa: PLC0415
    from gateway.models import Call, Hold  # noqa: PLC0415

    some = Call.objects.get(pk=seeded["sampled"][-1])
    day = (datetime.now(UTC) - timedelta(days=9)).strftime("%Y-%m-%dT%H:%M")
    middle = Call.objects.filter(workspace_id=some.workspace_id, pk__lt=some.pk).order_by("-id")[:1].get()
    lists = {
        "newest, with charts of a day": "",
        "newest, with charts of a month": "span=month",
        "a page in the middle": f"before={some.pk}",
        "backwards from the middle": f"after={middle.pk}",
        "agent": "agent=clerk",
        "tool": "name=git_push",
        "verdict deny": "verdict=deny",
        "verdict hold": "verdict=hold",
        "verdict allow": "verdict=allow",
        "state claimed: none": "state=claimed",
        "code of the oldest calls only": f"code={seed.OLD_CODE}",
        "that code and another agent": f"code={seed.OLD_CODE}&agent=analyst",
        "label of a third": "label=untrusted",
        "label of three sessions": "label=quarantine",
        "label of nobody": "label=nothing",
        "environment": "environment=production",
        "environment and tool and deny": "environment=staging&name=invoice_pay&verdict=deny",
        "label, agent, tool, allow": "label=pii&agent=ledger&name=query_run&verdict=allow",
        "tool that nobody called in an environment": "name=git_log&environment=nowhere",
        "a day": f"since={day}",
        "session": f"session={seeded['session']}",
        "run": f"run={seeded['run']}",
        "credential": f"credential={some.credential_id}",
        "credential, failed": f"credential={some.credential_id}&state=failed",
        "search: part of a tool": "text=invoice",
        "search: a letter": "text=e",
        "search: two words": "text=invoice+deny",
        "search: tool and code": "text=git+untrusted",
        "search: key": f"text={some.key}",
        "search: beginning of every key": "text=key-",
        "search: correlation id": f"text={some.correlation_id}",
        "search: id of a call": f"text={some.pk}",
        "search: id of a record": f"text={some.decided_record}",
        "search: a word that nothing has": "text=zzzzzz",
    }
    slug = seeded["workspace"]
    hold = Hold.objects.filter(workspace_id=some.workspace_id, state="open").latest("id")
    rows = [(f"calls: {what}", f"/w/{slug}/calls/?{query}", LIST_MS) for what, query in lists.items()]
    rows += [
        ("call: completed", f"/w/{slug}/calls/{seeded['sampled'][0]}/", CALL_MS),
        ("call: an old one", f"/w/{slug}/calls/{some.pk}/", CALL_MS),
        ("hold", f"/w/{slug}/holds/{hold.pk}/", CALL_MS),
        ("holds", f"/w/{slug}/holds/", LIST_MS),
        ("holds, decided", f"/w/{slug}/holds/?state=decided", LIST_MS),
        ("runs", f"/w/{slug}/runs/", LIST_MS),
        ("run", f"/w/{slug}/runs/{seeded['run']}/", LIST_MS),
        ("trail", f"/w/{slug}/trail/", LIST_MS),
        ("trail: event", f"/w/{slug}/trail/?event=gateway.call.lost", LIST_MS),
        ("trail: correlation id", f"/w/{slug}/trail/?correlation_id={some.correlation_id}", LIST_MS),
        ("record", f"/w/{slug}/trail/{some.decided_record}/", CALL_MS),
        ("start", f"/w/{slug}/", LIST_MS),
    ]
    return rows


def _measure(seeded: dict[str, Any]) -> list[dict[str, Any]]:
    import httpx2  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    cookies = {"placet_session": _cookie(seeded)}
    with httpx2.Client(base_url=settings.PLACET_URL, cookies=cookies, timeout=60, trust_env=False) as client:
        for what, address, goal in _addresses(seeded):
            took = []
            for number in range(TIMES + 3):
                begun = time.perf_counter()
                answer = client.get(address, headers={"Accept": "text/html"})
                if number >= 3:
                    took.append((time.perf_counter() - begun) * 1000)
                answer.raise_for_status()
            took.sort()
            row: dict[str, Any] = {"page": what, "address": address, "goal_ms": goal, "bytes": len(answer.content)}
            p50 = statistics.median(took)
            row |= {"p50_ms": p50, "p95_ms": took[math.ceil(TIMES * 0.95) - 1], "max_ms": took[-1]}
            rows.append(row | {"held": p50 < goal and len(answer.content) < LARGEST})
    return rows


def _cookie(seeded: dict[str, Any]) -> str:
    """Return the cookie of somebody who is signed in."""
    from django.conf import settings  # noqa: PLC0415
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: PLC0415
    from django.contrib.sessions.backends.db import SessionStore  # noqa: PLC0415

    from registry.models import Person  # noqa: PLC0415

    person = Person.objects.get(username=seeded["person"])
    session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def _sizes() -> dict[str, int]:
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relname ~ "
            "'^(gateway|agents|audit)_' ORDER BY 2 DESC LIMIT 6"
        )
        return dict(cursor.fetchall())


if __name__ == "__main__":
    sys.exit(main())
