"""Where directed faults happen: a live workspace, its tools behind every transport, and a process that dies for it."""

import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from unittest import mock
from uuid import uuid5

from audit import keys
from gateway import calls
from registry import bundles, memberships
from registry.models import Membership, Role
from tests import embedded, kept
from tests.agents.acts import Acts
from tests.agents.test_sagas import MORE
from tests.audit import trails
from tests.chaos import invariants
from tests.chaos.deeds import DEEDS
from tests.chaos.evidence import Case, Effect
from tests.chaos.proxy import Proxy
from tests.gateway import stage
from tests.gateway.effects import PYTHON, ROOT, until
from tests.gateway.stage import events, query
from tests.gateway.web import Web, plain
from tests.registry.builders import MODEL
from tests.tools.openai_server import OpenAI

_CALLS = """
SELECT c.name, c.key, c.credential_id, c.effect, r.key FROM gateway_call c
LEFT JOIN agents_run r ON r.id::text = c.run ->> 'id' WHERE c.workspace_id = %s
"""
_UNDER_WAY = """
SELECT count(*) FROM pg_stat_activity
WHERE usename LIKE 'placet_%' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
"""
_acting = threading.Lock()
PATIENCE_MS = 10_000  # for a decision on a busy machine
KINDS = {
    "pay": {"effect": "keyed", "dedup_window_s": 3600},
    "put": {"effect": "idempotent"},
    "launch": {"effect": "unsafe"},
}


class Scene(Acts):
    """A stage whose tools leave their effects in one place, whatever way they are reached, and a victim.

    :ivar environment: variables with which a process finds the servers. :ivar wires: to them, which may go bad.
    :ivar victim: the process that dies. :ivar deaths: at which points it did, how often.
    :ivar notes: checkpoints that somebody has kept.
    """

    def __init__(self, made, place, environment, wires):
        super().__init__(made.workspace, made.people, made.now)
        self.place, self.log, self.victim = place, place / "effects", None
        self.environment, self.wires, self.notes, self.deaths = environment, wires, [], Counter()
        self.log.touch()

    def bring_to_life(self, pins):
        """Make the releases live that the deeds call, and let olga break the glass."""
        olga = Membership.objects.get(workspace=self.workspace, person=self.people["olga"])
        memberships.grant(olga, Role.BREAK_GLASS, environment=None, actor=self.people["adam"], **self.build.how)
        self.live()
        ways = {"http": lambda tool: {"kind": "http", "endpoint": "keep", "method": "POST", "path": f"/{tool}"}}
        ways["mcp"] = lambda tool: {
            "kind": "mcp",
            "endpoint": "effects",
            "tool": tool,
            "definition": pins[tool]["digest"],
        }
        parts = [
            self.build.version("tool", f"{way}_{tool}", stage._tool("read", transport=made(tool)) | more)
            for way, made in ways.items()
            for tool, more in KINDS.items()
        ]
        lab = {name: content for name, content in MODEL.items() if name != "script"}
        parts.append(self.build.version("model", "lab", lab | {"provider": "openai", "endpoint": "lab"}))
        self._activate(self.build.release(parts, name="outward", policy_content=stage.release_policy()), "development")
        self.notes.append(trails.publish(self.workspace.pk))

    def person(self, name):
        """Return the key of a person."""
        return str(self.people[name].pk)

    def breaker(self, tool):
        """Return the id of a tool's breaker."""
        return uuid5(self.workspace.pk, f"breaker/development/tool/{tool}")

    def events(self, call):
        """Return the events about a call, in order."""
        return events(call)

    def effects(self, value):
        """Return what the tools say that they did with this value."""
        return [line for line in self.lines() if line["value"] == value]

    def case(self, export=None):
        """Return everything that the invariants are checked against; the whole trail goes to the file `export`, if any.

        What joins an effect to its call is the key that the tool saw, made here once more from the call's own.
        """
        self.notes.append(trails.publish(self.workspace.pk))
        if export is not None:
            export.write_bytes(trails.exported(self.workspace.pk))
        known = {}
        for name, key, credential, kind, run in query(_CALLS, self.workspace.pk):
            scope = f"tool\0{self.workspace.pk}\0{credential}\0{key}".encode()
            for secret in keys.every_secret("calls.hmac"):
                known[hmac.digest(secret, scope, "sha256").hex()] = (name.removeprefix("mcp_"), run or key, kind)
        acted = []
        for line in self.lines():
            tool, value, kind = known.get(line["key"], (line.get("tool", ""), f"nobody's: {line}", ""))
            found = Effect(tool, line["key"], value, 0.0)
            # The tools that run in our own process write down every request: a keyed one would know its key.
            if kind != "keyed" or found not in acted:
                acted.append(found)
        how = {"effects": acted, "export": export, "log_keys": [trails.key_of(self.workspace.pk)]}
        how["notes"] = {"outside": self.notes}
        return Case(trails.superuser(), self.workspace.pk, **how)

    def lawful(self, export=None):
        """Fail if an invariant does not hold for all that has happened on this scene; tell how much was looked at."""
        calls.sweep(datetime.now(UTC))
        case = self.case(export)
        with case.connection:
            report = invariants.check(case)
        assert report.violations == [], "\n".join(report.violations)
        return report.looked

    def lines(self):
        """Return what the tools have written down."""
        logs = [self.log, *(self.place / way / "effects.jsonl" for way in self.wires)]
        return [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]

    def bodies(self, workspace, event):
        """Return the records of a workspace that are called like `event` (SQL), in order."""
        rows = query(
            "SELECT body FROM audit_record WHERE workspace = %s AND event LIKE %s ORDER BY id", workspace, event
        )
        return [json.loads(bytes(body)) for (body,) in rows]

    def count(self, event, path, text):
        """Return how many records of an event have `text` at `path`."""
        sql = """SELECT count(*) FROM audit_record WHERE workspace = %s AND event = %s
                 AND convert_from(body, 'UTF8')::jsonb #>> %s = %s"""
        return query(sql, self.workspace.pk, event, path, text)[0][0]

    def order(self, deed, order=(), point="", skip=0, **more):
        """Let the victim do a deed; return how it ended."""
        asked = {**dict(order), "deed": deed, "point": point, "skip": skip, "log": str(self.place / "passed"), **more}
        print(json.dumps(asked), file=self.victim.stdin, flush=True)
        line = self.victim.stdout.readline()
        assert line, "the victim is gone"
        answer = json.loads(line)
        if answer["status"] == signal.SIGKILL:
            self.deaths[point] += 1
            # Until the database has noticed, the dead still hold their locks, which the sweepers skip.
            with trails.superuser() as owner:
                until(lambda: owner.execute(_UNDER_WAY).fetchall() == [(0,)])
        return answer

    def warm(self):
        """Let the victim find ready what its children need."""
        answer = self.order("call:look", DEEDS["call:look"].prepare(self))
        assert answer["status"] == 0, answer["told"]

    def die(self, deed, order, point, skip=0):
        """Let the victim die at a point of a deed. Fail if it did not: then nothing would be proven."""
        answer = self.order(deed, order, point, skip)
        assert answer["status"] == signal.SIGKILL, f"{deed} never died at {point}: {answer}"
        assert answer["passed"][-1] == point

    def killed(self, deed, point, skip=0, again=None):
        """Let somebody die at a point of a deed, others recover, and look at what came of it.

        :param again: a point at which whoever takes it up first dies, too, if it comes there.
        """
        order = DEEDS[deed].prepare(self)
        self.die(deed, order, point, skip)
        if again:
            self.order(deed, order, again)
        DEEDS[deed].recover(self, order)
        DEEDS[deed].check(self, order)


@contextmanager
def servers(place):
    """Yield (environment, wires): `keep` (http), `effects` (MCP) and `lab` (a model) are endpoints of real servers.

    Both tool servers write down what they do, hold back their answers while <way>/gate exists, and give the status in
    <way>/status-after for one; over http, the bytes in http/poison. Each stands behind a wire: "http" and "mcp".
    """
    for way in ("http", "mcp"):
        (place / way).mkdir()
    with ExitStack() as stack:
        keep = stack.enter_context(Web())
        keep.routes |= {f"/{tool}": partial(_act, place / "http") for tool in KINDS}
        lab = stack.enter_context(OpenAI([{"say": "done"}]))
        ends = {"http": (keep.address, keep.port), "mcp": ("127.0.0.1", stack.enter_context(_mcp(place / "mcp")))}
        wires = {way: stack.enter_context(Proxy(end)) for way, end in ends.items()}
        entries = {"keep": wires["http"].url, "lab": f"{lab.url}/v1", "effects": f"{wires['mcp'].url}/mcp"}
        file = place / "launchers.toml"
        file.write_text("".join(f'[endpoints.{name}]\nurl = "{url}"\n' for name, url in entries.items()))
        allowed = ",".join([lab.here, *(wire.here for wire in wires.values())])
        yield {"PLACET_LAUNCHERS": str(file), "PLACET_EGRESS_ALLOW": allowed}, wires


def _act(place, handler, body):
    """Do what an http tool does; `pay` once per key, which it finds in the log."""
    line = {"value": json.loads(body)["value"], "key": handler.headers["Idempotency-Key"], "tool": handler.path[1:]}
    with _acting, (place / "effects.jsonl").open("a+") as file:
        file.seek(0)
        if line["tool"] != "pay" or all(json.loads(earlier)["key"] != line["key"] for earlier in file):
            file.write(json.dumps(line) + "\n")
    while (place / "gate").exists():
        time.sleep(0.01)
    if (poison := place / "poison").exists():
        plain(handler, content=poison.read_bytes())
        return
    after = place / "status-after"
    said = json.dumps({"value": line["value"]}).encode()
    plain(handler, status=int(after.read_text()) if after.exists() else 200, content=said)


@contextmanager
def _mcp(place):
    command = [PYTHON, ROOT / "tests/tools/effects.py", place, "--http", "0"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until(lambda: (place / "port").exists() and (place / "port").read_text())
        yield int((place / "port").read_text())
        process.kill()


@contextmanager
def dying(scene, **more):
    """Within the block, `scene` has a victim, with `more` in its environment."""
    variables, before = embedded.environment(Path(os.environ["PLACET_HOME"])) | scene.environment | more, scene.victim
    variables |= {"DJANGO_SETTINGS_MODULE": "tests.settings", "PLACET_DECISION_TIMEOUT_MS": str(PATIENCE_MS)}
    variables |= {"STAGE_LOG": str(scene.log)}
    command = [sys.executable, "-m", "tests.chaos.victim"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=variables, **pipes) as scene.victim:
        scene.warm()
        yield
        scene.victim.stdin.close()
    scene.victim = before


@contextmanager
def kept_keys(scene):
    """Put the keys back afterwards, and sign the scene's bundle with them again."""
    with kept.keys():
        yield
    bundles.publish(scene.build.environment().pk, now=datetime.now(UTC), using="bundler")


def more_tools():
    """Return a patch that lets scripts name the tools that can be undone."""
    return mock.patch.dict(stage.TOOLS, MORE)
