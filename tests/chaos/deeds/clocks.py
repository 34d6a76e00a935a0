"""What a process does whose clock is wrong: everything that ends or begins with time, which the database tells."""

from datetime import timedelta
from uuid import UUID

from django.test import Client

from agents import executor, leases, sweeper
from agents.models import Step
from audit.refusal import Refusal
from gateway import calls, credentials
from gateway.models import Hold, Session
from registry import activations, bundles, devices, tokens, upkeep
from registry.models import Activation, DeviceLogin, Pdp, Proposal
from tests.agents.acts import call, lapse, open_step
from tests.audit import trails
from tests.chaos.deeds.deed import Deed, how
from tests.chaos.deeds.people import person
from tests.gateway.stage import fresh, query

# What ends by itself, and when: table, column that names the row, column of its end.
ENDS = {
    "hold": ("gateway_hold", "id", "expires_at"),
    "session": ("gateway_session", "id", "expires_at"),
    "proposal": ("registry_proposal", "id", "expires_at"),
    "glass": ("registry_activation", "id", "expires_at"),
    "key": ("gateway_key", "credential_id", "expires_at"),
    "step": ("agents_step", "id", "lease_until"),
}


class Ready(Deed):
    """Is it ready?"""

    def prepare(self, scene):
        return {"ready": True}

    def do(self, order):
        answer = Client().get("/readyz")
        said = answer.json()["problems"]
        assert answer.status_code == (200 if order["ready"] else 503), said
        assert order["ready"] or "clock differs" in said[0]


class Due(Deed):
    """Everything that has an end is looked at by everybody who ends things.

    :param minutes: after which all of it is over, by the database's clock; negative: it is.
    """

    def __init__(self, minutes):
        self.minutes = minutes

    def prepare(self, scene):
        agent = scene.agent(scopes=("tools:call", "states:use"))
        parked = scene.call(agent, "careful", key=fresh("key"))
        opened = scene.call(agent, "look")
        session = query("SELECT session_id FROM gateway_call WHERE id = %s", opened.call)[0][0]
        proposal = scene.build.propose(scene.build.release(name=fresh("agent")))
        scene.scripted([{"when": {"step": 1}, "call": [call("put")]}, {"say": "done"}])
        run = scene.start(fresh("run"))
        step = open_step(run)
        assert leases.claim(step.pk) is not None
        order = {"hold": parked.hold, "session": session, "proposal": proposal.pk, "glass": self.broken(scene).pk}
        order |= {"key": agent.id, "step": step.pk, "run": run.pk}
        with trails.superuser() as owner:
            for name, (table, column, end) in ENDS.items():
                later = f"UPDATE {table} SET {end} = clock_timestamp() + %s * interval '1 min' WHERE {column} = %s"
                owner.execute(later, [self.minutes, order[name]])
        return {name: str(pk) for name, pk in order.items()}

    def broken(self, scene):
        version = scene.build.release(name=fresh("agent"))
        said = {"actor": scene.people["olga"], "reason": "The house is on fire.", "minutes": 60}
        row = activations.break_glass(version, scene.build.environment(), **said, **how())
        Pdp.objects.filter(environment=row.environment).delete()
        bundles.publish(row.environment_id, now=how()["now"], using="bundler")
        assert activations.finish(row, **how()).state == "live"
        return row

    def do(self, order):
        calls.sweep(how()["now"])
        upkeep.run(now=how()["now"])
        sweeper.wake_decided()
        executor.advance(UUID(order["step"]))
        try:
            credentials.principal_of(UUID(order["key"]))
        except Refusal as refusal:
            assert refusal.code == "credential_expired"

    def check(self, scene, order):
        over = self.minutes < 0
        assert (Hold.objects.get(pk=order["hold"]).state == "expired") == over
        assert (Session.objects.get(pk=order["session"]).state == "expired") == over
        assert (Proposal.objects.get(pk=order["proposal"]).state == "expired") == over
        assert (Activation.objects.get(pk=order["glass"]).reverted_at is not None) == over
        # A lease that is over was taken over, once; one that runs was not.
        step = Step.objects.get(pk=order["step"])
        assert (step.fence, step.state) == ((2, "done") if over else (1, "leased"))
        if over:
            assert scene.work(step.run).state == "succeeded"


class Leased(Deed):
    """A lease that the process takes itself ends when the database says so, for everybody."""

    def prepare(self, scene):
        scene.scripted([{"say": "done"}])
        return {"step": str(open_step(scene.start(fresh("run"))).pk)}

    def do(self, order):
        assert leases.claim(UUID(order["step"])) is not None

    def check(self, scene, order):
        assert leases.claim(UUID(order["step"])) is None
        left = "SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM agents_step WHERE id = %s"
        assert 0 < query(left, order["step"])[0][0] <= 60
        step = Step.objects.get(pk=order["step"])
        lapse(step)
        assert scene.work(step.run).state == "succeeded"


class LoggedIn(Deed):
    """A program gets a token of a person, for an hour, whatever hour it is here."""

    def prepare(self, scene):
        return {"by": scene.person("alice"), "name": fresh("program")}

    def do(self, order):
        row, _ = tokens.create(person(order["by"]), name=order["name"], hours=1, actor="system:test", **how())
        devices.begin(machine=order["name"], address=None, hours=1)
        assert tokens.standing(row.person).filter(pk=row.pk).exists()

    def check(self, scene, order):
        rows = tokens.standing(scene.people["alice"]).filter(name=order["name"])
        assert rows.count() == 1
        assert abs(rows.get().expires_at - how()["now"] - timedelta(hours=1)) < timedelta(minutes=5)
        begun = DeviceLogin.objects.get(machine=order["name"])
        assert devices.find(begun.code) is not None


DEEDS = {
    "clock:ready": Ready(),
    "clock:soon": Due(30),
    "clock:over": Due(-1),
    "clock:lease": Leased(),
    "clock:login": LoggedIn(),
}
