"""Calls of tools and models, through every transport."""

from datetime import UTC, datetime
from uuid import UUID

from gateway import calls, credentials, pep
from gateway.exchange import Request
from gateway.models import Breaker
from tests.chaos.deeds.deed import Deed, how, lapse
from tests.gateway.stage import MESSAGES, fresh, let_time_pass, query


class Call(Deed):
    """A call under a key, which its client repeats until it has an answer."""

    def __init__(self, name, *, agent="steward", unsafe=False, kind="tool"):
        self.name, self.agent, self.unsafe, self.kind = name, agent, unsafe, kind

    def prepare(self, scene):
        value = fresh()
        return {"credential": str(scene.agent(agent=self.agent).id), "value": value}

    def do(self, order):
        principal = credentials.principal_of(UUID(order["credential"]))
        arguments = MESSAGES if self.kind == "model" else {"value": order["value"]}
        request = Request(self.kind, self.name, arguments, order["value"], "chaos")
        return pep.call(principal, request, now=datetime.now(UTC))

    def recover(self, scene, order):
        lapse(order["credential"])
        outcome = self.do(order)
        if outcome.status == "unknown" and self.unsafe:
            # Nobody repeats it: a person looks at the tool's own log, and says what became of it.
            said = "happened" if scene.effects(order["value"]) else "did_not_happen"
            pep.settle(outcome.call, person=scene.people["olga"], outcome=said, **how())
            outcome = self.do(order)
        assert outcome.status == "finished", outcome

    def check(self, scene, order):
        outcome = self.do(order)
        assert outcome.status == "finished", outcome
        effects = scene.effects(order["value"])
        if self.kind == "tool":
            assert len({effect["key"] for effect in effects}) == 1, effects
        decided = query(
            """SELECT count(*) FROM gateway_attempt a JOIN gateway_call c ON c.id = a.call_id
               JOIN audit_record r ON r.id = a.decided_record WHERE c.credential_id = %s AND a.verdict = 'allow'""",
            order["credential"],
        )
        assert len(effects) <= decided[0][0]
        if self.unsafe or self.name == "mcp_pay":
            assert len(effects) == 1


class Sticky(Call):
    """The first call of a credential, which opens its session."""

    def prepare(self, scene):
        order = super().prepare(scene)
        assert query("SELECT count(*) FROM gateway_session WHERE credential_id = %s", order["credential"]) == [(0,)]
        return order


class Probe(Call):
    """A call that is let pass as the probe of an open breaker."""

    def prepare(self, scene):
        order = super().prepare(scene)
        row, _ = Breaker.objects.get_or_create(
            workspace_id=scene.workspace.pk, environment="development", kind="tool", name=self.name,
            defaults={"pk": scene.breaker(self.name)},
        )  # fmt: skip
        query(
            """UPDATE gateway_breaker SET state = 'open', code = 'tool_unreachable', opened_at = now(), openings = 1,
                      probe_at = now() - interval '1 s', probe_until = NULL, probes = 0, answered = 0 WHERE id = %s""",
            row.pk,
        )
        return order

    def recover(self, scene, order):
        # A probe that nobody hears of any more counts no longer than its call may take.
        query("UPDATE gateway_breaker SET probe_until = now() WHERE id = %s AND state = 'half_open'", self.pk(scene))
        super().recover(scene, order)

    def check(self, scene, order):
        super().check(scene, order)
        assert Breaker.objects.get(pk=self.pk(scene)).state == "closed"

    def pk(self, scene):
        return scene.breaker(self.name)


class Sweep(Call):
    """The sweeper tells of a call whose process died between decision and outcome."""

    def prepare(self, scene):
        order = super().prepare(scene)
        scene.die("call:pay", order, "gateway.before_record")
        call = query("SELECT id FROM gateway_call WHERE credential_id = %s", order["credential"])[0][0]
        let_time_pass(call)
        return order

    def do(self, order):
        calls.sweep(datetime.now(UTC))

    def recover(self, scene, order):
        self.do(order)

    def check(self, scene, order):
        pay = Call("pay")
        pay.recover(scene, order)
        pay.check(scene, order)


class Settle(Deed):
    """A person says what became of an unsafe call."""

    known = ("call_not_unknown",)

    def prepare(self, scene):
        outcome = scene.call(scene.agent(), "launch", "lost", key=fresh("key"))
        assert outcome.status == "unknown"
        return {"call": str(outcome.call), "by": scene.person("olga")}

    def do(self, order):
        from tests.chaos.deeds.people import person

        pep.settle(UUID(order["call"]), person=person(order["by"]), outcome="happened", **how())

    def check(self, scene, order):
        assert query("SELECT state FROM gateway_call WHERE id = %s", order["call"]) == [("completed",)]
        assert scene.events(order["call"]).count("call.settled") == 1


DEEDS = {
    "call:look": Sticky("look"),
    "call:put": Call("put"),
    "call:pay": Call("pay"),
    "call:launch": Call("launch", unsafe=True),
    "call:model": Call("script", kind="model"),
    "call:http:pay": Call("http_pay", agent="outward"),
    "call:http:launch": Call("http_launch", agent="outward", unsafe=True),
    "call:mcp:pay": Call("mcp_pay", agent="outward"),
    "call:mcp:launch": Call("mcp_launch", agent="outward", unsafe=True),
    "call:openai": Call("lab", agent="outward", kind="model"),
    "call:probe": Probe("narrow"),
    "sweep": Sweep("pay"),
    "settle": Settle(),
}
