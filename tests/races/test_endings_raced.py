"""Nothing is decided after it was forbidden: a stop, a revocation or a leaving against calls in flight.

"After" means: the record of an allowing decision was committed later than the record of the ending was, by the
database's own commit times (tests.races.commits). A call that was decided before may still finish; a call whose
decision commits a microsecond after the ending's commit must be a denial, whatever it had read before.
"""

from collections import Counter

import pytest

from gateway import credentials, pep, sessions
from gateway.exchange import Request
from registry import memberships, stops, versions
from registry.models import Membership
from tests.gateway.stage import TOOLS, effects, query
from tests.races import dice, verdicts
from tests.races.threads import Threads
from tests.registry.builders import publish

CALLERS = 4


class Ending:
    """One history: callers of one credential, and one who ends something beneath them."""

    def __init__(self, stage, kind, number, chance):
        self.stage, self.kind, self.number, self.dice = stage, kind, number, chance
        self.name = f"e-{dice.SEED}-{kind}-{number}"
        self.how = {"now": stage.now, "correlation_id": self.name}
        self.session = None
        self.tool = chance.choice(["look", "put"])
        agent = "steward"
        if kind in ("release", "tool version"):
            agent = "ending"
            self.renew(agent)
        self.agent = stage.agent(owner="dave", agent=agent)
        if kind == "session":
            self.session = sessions.open(
                self.agent, workspace=stage.workspace.pk, environment="development", agent="steward", **self.how
            ).pk
        self.values, self.outcomes = [], []

    def renew(self, agent):
        """Make a release of an agent live, to be revoked; its bundle is the one that is out already."""
        build = self.stage.build
        parts = [
            build.version("tool", name, TOOLS[name] | {"description": f"{self.name} {name}"})
            for name in ("look", "put")
        ]
        policy = versions.newest(self.stage.workspace.pk, "policy", "steward-policy")
        pins = [{"kind": part.kind, "name": part.name, "digest": part.digest} for part in [*parts, policy]]
        self.release = build.version("agent", agent, {"pins": pins, "budgets": {}})
        self.version = next(part for part in parts if part.name == self.tool)
        activation = build.requested(self.release)
        publish(activation, build.environment().bundle_revision)
        assert build.finish(activation, activation.revision).state == "live", activation.failure

    def calls(self, lane):
        """Return the work of a caller: calls until one is denied, with a few more after it."""
        pause = [self.dice.uniform(0, 0.004) for _ in range(6)]

        def work():
            left = 2
            for turn in range(30):
                value = f"{self.name}-{lane}-{turn}"
                request = Request("tool", self.tool, {"value": value}, value, f"{self.name}-call", session=self.session)
                outcome = pep.call(self.agent, request, now=self.stage.now)
                self.values.append(value)
                self.outcomes.append(outcome)
                left -= outcome.status == "denied"
                if not left:
                    return
                wait(pause[turn % len(pause)])

        return work

    def end(self):
        """Return the work of who ends it, a little later."""
        pause = self.dice.uniform(0.01, 0.12)

        def work():
            wait(pause)
            END[self.kind](self)

        return work

    def undo(self):
        """Bring back what others need."""
        if self.kind.startswith("stop"):
            stops.lift(self.stop, by=self.stage.people["olga"], **self.how)
        elif self.kind == "owner":
            memberships.add(
                self.stage.workspace, self.stage.people["dave"], actor=self.stage.people["adam"], **self.how
            )

    def _stop(self, scope, target=""):
        given = {"scope": scope, "target": target, "reason": "It runs wild.", "by": self.stage.people["olga"]}
        self.stop = stops.set(self.stage.workspace, **given, **self.how)

    def _revoke(self, version):
        versions.revoke(version, actor=self.stage.people["carol"], reason="leak", **self.how)

    def _leave(self):
        member = Membership.objects.get(workspace=self.stage.workspace, person=self.stage.people["dave"])
        memberships.deactivate(member, actor=self.stage.people["adam"], **self.how)

    def _revoke_credential(self):
        row = credentials.Credential.objects.get(pk=self.agent.id)
        credentials.revoke(row, actor=self.stage.people["adam"], **self.how)


def wait(seconds):
    """Wait in the database, whose clock decides here."""
    query("SELECT pg_sleep(%s)", seconds)


END = {
    "credential": Ending._revoke_credential,
    "owner": Ending._leave,
    "release": lambda one: one._revoke(one.release),
    "tool version": lambda one: one._revoke(one.version),
    "session": lambda one: sessions.close(one.session, by=one.stage.people["olga"], **one.how),
    "stop workspace": lambda one: one._stop("workspace"),
    "stop agent": lambda one: one._stop("agent", "steward"),
    "stop tool": lambda one: one._stop("tool", one.tool),
}
RECORD = {
    "credential": "gateway.credential.revoked",
    "owner": "registry.membership.deactivated",
    "release": "registry.version.revoked",
    "tool version": "registry.version.revoked",
    "session": "gateway.session.closed",
} | dict.fromkeys(("stop workspace", "stop agent", "stop tool"), "registry.stop.created")


@pytest.fixture(scope="module")
def threads(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), Threads(CALLERS + 1) as threads:
        yield threads


@dice.bouts(48, 1200)
def test_no_call_is_allowed_after_the_ending_was_committed(stage, threads, count):
    workspace, seen = stage.workspace.pk, Counter()
    for number in range(count):
        kind = list(END)[number % len(END)]
        history = Ending(stage, kind, number, dice.of("endings", number))
        threads.race([*(history.calls(lane) for lane in range(CALLERS)), history.end()])
        history.undo()
        late = verdicts.late(workspace, event=RECORD[kind], ending=history.name, calls=f"{history.name}-call")
        assert not late, f"{dice.told()} {kind} {number}: allowed after the end: {late}"
        counted = verdicts.counts(workspace, f"{history.name}-call")
        # What the tool did is what was allowed, once each, and nothing else.
        acted = Counter(len(effects(value)) for value in history.values)
        assert (acted[1], acted[0]) == (counted.get("allow", 0), len(history.values) - counted.get("allow", 0))
        seen += counted
    print(f"{dice.told()}: {count} histories, {dict(seen)}")
    assert seen["allow"] > count
    assert seen["deny"] > count
