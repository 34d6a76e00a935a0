"""Two people on one hold, and whoever else comes between: one decision, and at most one execution, at the tool.

After each history the records of the hold are read in the order of their commits: it is decided once, nobody's word
counts after its end, and the tool acted exactly as often as a decision allowed it, which is once at most.
"""

from collections import Counter

import pytest

from audit.refusal import Refusal
from gateway import credentials, holds, pep
from gateway.models import Hold
from registry import memberships, stops
from registry.models import Membership
from tests.gateway.stage import effects, query, state_of
from tests.races import commits, dice, verdicts
from tests.races.test_endings_raced import RECORD, wait
from tests.races.threads import Threads

# What races with what, by name; `released` ones begin with the approval of bob.
OPEN = [
    ("approve bob", "approve carol"),
    ("approve bob", "approve bob"),
    ("approve bob", "reject carol"),
    ("approve bob", "reject carol", "approve carol", "expire"),
    ("approve bob", "expire"),
    ("approve bob", "stop", "release"),
    ("approve bob", "release", "same key"),
    ("reject bob", "reject carol", "same key"),
]
APPROVED = [
    ("release", "release"),
    ("release", "release", "same key", "same key"),
    ("release", "expire", "same key"),
    ("release", "stop", "same key"),
    ("release", "bob leaves", "same key"),
    ("release", "credential", "same key"),
    ("release", "reject carol", "approve carol"),
]
# A hold that is over is over: the database refuses to change it.
RUN_OUT = """
UPDATE gateway_hold SET expires_at = clock_timestamp() WHERE id = %s AND state IN ('open', 'approved')
"""


class Parked:
    """One parked call, and what people and programs do with it."""

    def __init__(self, stage, number, chance):
        self.stage, self.dice = stage, chance
        self.name = f"h-{dice.SEED}-{number}"
        self.how = {"now": stage.now, "correlation_id": self.name}
        self.tool = chance.choice(["careful", "careless"])
        self.agent = stage.agent()
        parked = self.call()
        assert parked.status == "parked", parked
        self.pk, self.of = parked.call, parked.hold
        self.digest = Hold.objects.get(pk=self.of).digest
        self.ended = None

    def call(self):
        """Ask with the same key."""
        return self.stage.call(self.agent, self.tool, self.name, key=self.name)

    def act(self, what):
        """Return the work of one of those who race."""
        pause = self.dice.choice([0, 0, self.dice.uniform(0, 0.02)])
        verb, _, who = what.partition(" ")
        does = {
            "approve": lambda: self._say(holds.approve, who),
            "reject": lambda: self._say(holds.reject, who),
            "release": lambda: pep.release(self.of, now=self.stage.now),
            "same": self.call,
            "expire": self._expire,
            "stop": self._stop,
            "bob": self._leave,
            "credential": self._revoke,
        }[verb]

        def work():
            wait(pause)
            try:
                return does()
            except Refusal as refusal:
                return refusal.code

        return work

    def undo(self):
        """Bring back what others need."""
        if self.ended == "stop workspace":
            stops.lift(self.stop, by=self.stage.people["olga"], **self.how)
        elif self.ended == "owner":
            bob, adam = self.stage.people["bob"], self.stage.people["adam"]
            memberships.add(self.stage.workspace, bob, actor=adam, **self.how)

    def check(self, results):
        """Return what is wrong, in words."""
        wrong = ["our database could not record"] * results.count("decision_unrecorded")
        records = [one for one in commits.records(self.stage.workspace.pk, self.first) if self._concerns(one)]
        closing = [one for one in records if one.event.startswith("gateway.hold.")]
        said = [one.event.rpartition(".")[2] for one in closing]
        allowed = [one for one in records if one.event == "gateway.call.decided" and one.data["verdict"] == "allow"]
        acted = len(effects(self.name))
        if said not in ([], ["approved"], ["rejected"], ["expired"], ["approved", "expired"]):
            wrong.append(f"the hold was decided more than once: {said}")
        if acted != len(allowed) or acted > 1:
            wrong.append(f"{acted} effects of {len(allowed)} allowing decisions")
        for one in allowed:
            if one.data["hold"] != str(self.of) or not closing or closing[0].at >= one.at or said != ["approved"]:
                wrong.append(f"allowed without the word of a person: {said}")
        state = Hold.objects.get(pk=self.of).state
        if (state == "released") != bool(allowed):
            wrong.append(f"the hold is {state} after {len(allowed)} allowing decisions")
        if said == ["rejected"] and state_of(self.pk) != "denied":
            wrong.append(f"rejected, and the call is {state_of(self.pk)}")
        if self.ended is not None:
            ending = {"event": RECORD[self.ended], "ending": self.name, "calls": "test-%"}
            late = [call for call, _ in verdicts.late(self.stage.workspace.pk, **ending) if call == str(self.pk)]
            wrong += [f"allowed after the {self.ended} was over"] * len(late)
        return wrong

    def _concerns(self, record):
        return record.subjects.get("call") == str(self.pk)

    def _say(self, verb, who):
        return verb(self.of, approver=self.stage.people[who], digest=self.digest, **self.how)

    def _expire(self):
        query(RUN_OUT, self.of)
        return holds.expire(now=self.stage.now)

    def _stop(self):
        self.ended = "stop workspace"
        given = {"scope": "workspace", "target": "", "reason": "x", "by": self.stage.people["olga"]}
        self.stop = stops.set(self.stage.workspace, **given, **self.how)

    def _leave(self):
        self.ended = "owner"
        member = Membership.objects.get(workspace=self.stage.workspace, person=self.stage.people["bob"])
        memberships.deactivate(member, actor=self.stage.people["adam"], **self.how)

    def _revoke(self):
        self.ended = "credential"
        row = credentials.Credential.objects.get(pk=self.agent.id)
        credentials.revoke(row, actor=self.stage.people["adam"], **self.how)


@pytest.fixture(scope="module")
def threads(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), Threads(4) as threads:
        yield threads


@dice.bouts(45, 1200)
def test_a_hold_is_decided_once_and_its_call_executed_at_most_once(stage, threads, count):
    ends = Counter()
    for number in range(count):
        history = Parked(stage, number, dice.of("holds", number))
        history.first = query("SELECT decided_record FROM gateway_call WHERE id = %s", history.pk)[0][0]
        races = [*OPEN, *APPROVED][number % (len(OPEN) + len(APPROVED))]
        if races in APPROVED:
            history._say(holds.approve, "bob")
        results = threads.race([history.act(what) for what in history.dice.sample(races, len(races))])
        wrong = history.check(results)
        assert not wrong, f"{dice.told()} {number} {races}: {wrong}\n{results}"
        history.undo()
        ends[Hold.objects.get(pk=history.of).state] += 1
    print(f"{dice.told()}: {count} histories, {dict(ends)}")
    assert {"released", "rejected", "expired"} <= ends.keys()
