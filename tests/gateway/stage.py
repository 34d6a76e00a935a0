"""A workspace with a live release whose tools write down what they do, and the doors through which it is called."""

import json
import os
import secrets
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

from django.db import connections

from gateway import credentials, pep
from gateway.exchange import Request
from gateway.transport.outcome import TransportFailed
from gateway.transport.python import ToolError, register
from registry import bundles, policies
from tests.registry.builders import MODEL, Builder

# What the tools did, in order: the tests trust this and not what the gateway says.
EFFECTS: list[dict] = []
# What a test wants to happen while the tool is at work on a value.
DURING: dict[str, object] = {}
_VALUE = {"type": "object", "properties": {"value": {"type": "string"}, "count": {"type": "integer"}}}
SCHEMA = _VALUE | {"required": ["value"], "additionalProperties": False}


def _tool(effect, **more):
    return {
        "description": "A tool of the tests.",
        "input_schema": SCHEMA,
        "transport": {"kind": "python", "function": "stage"},
        "effect": effect,
        "risk": "low",
    } | more


TOOLS = {
    "look": _tool("read"),
    "put": _tool("idempotent"),
    "pay": _tool("keyed", dedup_window_s=3600),
    "launch": _tool("unsafe"),
    "forbidden": _tool("read"),
    "careful": _tool("idempotent"),
    "careless": _tool("unsafe"),
    "web": _tool("read", labels_out=["untrusted"]),
    "narrow": _tool("read", concurrency=2),
    "rated": _tool("read", rate={"calls": 3, "seconds": 60}),
    "rated_soft": _tool("read", rate={"calls": 3, "seconds": 60}, degradable=True),
    "strict": _tool("read", output_schema={"type": "object", "required": ["value"]}),
    "mail": _tool("idempotent", destinations=["/value"]),
}
MESSAGES = {"messages": [{"role": "user", "content": "Go on."}]}
SCRIPT = [{"when": {"contains": "secret"}, "say": "key ghp_0123456789"}, {"say": "done"}]


@register("stage")
def act(arguments, key):
    """Do what `value` asks for, after writing it down."""
    value = arguments["value"]
    if value == "unreachable":
        raise TransportFailed("tool_unreachable", "no")
    effect = {"value": value, "key": key}
    EFFECTS.append(effect)
    if log := os.environ.get("STAGE_LOG"):
        with open(log, "a") as file:
            file.write(json.dumps(effect) + "\n")
    if value in DURING:
        DURING[value]()
    if value == "error":
        raise ToolError({"why": "the tool says no"})
    if value == "lost":
        raise TransportFailed("tool_timeout", "maybe")
    if value.startswith("kill:"):
        os.kill(os.getpid(), signal.SIGKILL)
    if value == "bug":
        raise ZeroDivisionError
    if value.startswith("sleep:"):
        time.sleep(float(value[6:]))
    if value.startswith("say:"):
        return {"text": value[4:]}
    return {"value": value}


def effects(value):
    """Return what was done with this value."""
    return [effect for effect in EFFECTS if effect["value"] == value]


def fresh(word="v"):
    """Return a value that no other test uses."""
    return f"{word}-{secrets.token_hex(6)}"


class Stage:
    """The workspace, its people, and its agents."""

    def __init__(self, workspace, people, now):
        self.workspace, self.people, self.now = workspace, people, now
        self.build = Builder(workspace, people, now)

    def live(self, tools=None, *, budgets=None, environment="development", agent="steward", policy=None):
        """Make a release live, published by the bundler."""
        parts = [self.build.version("tool", name, content) for name, content in (tools or TOOLS).items()]
        parts.append(self.build.version("model", "script", MODEL | {"script": SCRIPT}))
        release = self.build.release(
            parts, name=agent, policy_content=policy or release_policy(), budgets=budgets or {}
        )
        if not self._has_baseline(environment):
            self._activate(self.build.version("policy", "baseline", policies.shipped("baseline")), environment)
        self._activate(release, environment)
        self._warm(agent, environment)
        return release

    def agent(self, *, agent="steward", environment="development", scopes=("tools:call", "models:call"), owner="alice"):
        """Return the principal of a new credential."""
        return credentials.authenticate(self.key(agent=agent, environment=environment, scopes=scopes, owner=owner))

    def key(self, *, agent="steward", environment="development", scopes=("tools:call", "models:call"), owner="alice"):
        """Return the key of a new credential."""
        return credentials.create(
            self.workspace,
            environment=environment,
            agent=agent,
            owner=self.people[owner],
            scopes=scopes,
            expires_at=self.now + timedelta(days=1),
            actor=self.people["adam"],
            now=self.now,
        )[1]

    def call(self, principal, name="look", value=None, **more):
        """Make a call through the line."""
        return pep.call(principal, self.request(name, value, **more), now=self.now)

    def request(self, name="look", value=None, *, key=None, arguments=None, kind="tool", **more):
        """Return a request with a key of its own."""
        arguments = {"value": value or fresh()} if arguments is None else arguments
        return Request(kind, name, arguments, key or fresh("key"), f"test-{uuid4()}", **more)

    def _warm(self, agent, environment):
        """Wait until the evaluators have started and know the new bundle."""
        principal = self.agent(agent=agent, environment=environment)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            outcome = self.call(principal, kind="model", name="script", arguments=MESSAGES)
            if outcome.decision.failure is None:
                return
        raise TimeoutError(f"no evaluator decides: {outcome.code}")

    def _has_baseline(self, environment):
        from registry.models import Slot

        return Slot.objects.filter(environment=self.build.environment(environment), artifact__name="baseline").exists()

    def _activate(self, version, environment):
        from registry import activations
        from registry.models import Pdp

        proposal = self.build.propose(version, environment)
        self.build.approve(proposal, "bob")
        activation = activations.request(proposal, actor=self.people["olga"], **self.build.how)
        bundles.publish(self.build.environment(environment).pk, now=self.now, using="bundler")
        activation.refresh_from_db()
        # Decision points of tests that came before will never load it.
        Pdp.objects.filter(environment=self.build.environment(environment)).delete()
        assert activations.finish(activation, **self.build.how).state == "live", activation.failure


def release_policy():
    """Return the shipped release policy that denies `forbidden` and asks a person before `careful` and `careless`."""
    return policies.shipped("release") | {"data": {"denied": ["forbidden"], "held": ["careful", "careless"]}}


def query(sql, *params, using="default"):
    """Return the rows of a query."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


def records(call):
    """Return (event, body) of the records about a call, in order."""
    about = "convert_from(body, 'UTF8')::jsonb #>> '{subjects,call}'"
    rows = query(f"SELECT event, body FROM audit_record WHERE {about} = %s ORDER BY id", str(call))
    return [(event, json.loads(bytes(body))) for event, body in rows]


def events(call):
    """Return the events about a call, in order."""
    return [event.removeprefix("gateway.") for event, _ in records(call)]


def state_of(call):
    """Return the state of a call."""
    return query("SELECT state FROM gateway_call WHERE id = %s", call)[0][0]


def let_time_pass(call):
    """Make the leases of a call run out."""
    query("UPDATE gateway_call SET lease_until = now() - interval '1 s' WHERE id = %s", call)
    query("UPDATE gateway_lease SET until = now() - interval '1 s' WHERE call = %s", call)


def at_once(*steps):
    """Run functions in threads of their own, all starting together; return their results or exceptions, in order."""
    barrier = threading.Barrier(len(steps))

    def run(step):
        barrier.wait()
        try:
            return step()
        except Exception as error:  # noqa: BLE001 - what a race raised is its result
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(run, steps))
