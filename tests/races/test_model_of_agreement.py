"""A model of versions, proposals, approvals and activations in plain Python, which the product has to follow.

Hypothesis draws what people do, one after the other; the model says beforehand what comes of each act, and after each
step the rows have to be as it says. Time is simulated: it passes when a rule moves an expiry into the past.
"""

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from audit.refusal import Refusal
from registry import activations, approvals, memberships, proposals, versions
from registry.models import Activation, Approval, Grant, Membership, Proposal, Slot
from tests.gateway.stage import query
from tests.races import dice
from tests.races.agreement import QUORUM, REVIEWERS, Agreement
from tests.registry import builders

WHO = st.sampled_from(REVIEWERS)
WHICH = st.sampled_from((0, 1))
PICK = st.integers(0, 5)
OVER = "UPDATE registry_proposal SET expires_at = now() - interval '1 s' WHERE id = %s"
RUN_OUT = "UPDATE registry_approval SET expires_at = now() - interval '1 s' WHERE id = %s"


@dataclass
class Word:
    """What somebody stands by."""

    verdict: str
    over: bool = False


@dataclass
class Paper:
    """A proposal. :ivar said: by person."""

    version: int
    row: Proposal
    state: str = "open"
    over: bool = False
    said: dict[str, Word] = field(default_factory=dict)


class Model(RuleBasedStateMachine):
    """Two versions of one release in an environment, three reviewers, and everything that can become of them."""

    scene: Agreement
    made = 0

    @initialize()
    def begin(self):
        scene, Model.made = self.scene, Model.made + 1
        scene.restore()
        pins = [{"kind": part.kind, "name": part.name, "digest": part.digest} for part in scene.parts]
        name = f"model-{Model.made}"
        self.rows = [scene.build.version("agent", name, {"pins": pins, "budgets": {"steps": step}}) for step in (1, 2)]
        self.where = scene.places["development"]
        self.life = ["available"] * len(self.rows)
        self.papers = []
        self.member, self.granted = dict.fromkeys(REVIEWERS, True), dict.fromkeys(REVIEWERS, True)
        self.pending = None
        self.live, self.past = None, set()

    # What the model knows.

    def lacks(self, paper):
        """Say whether anything keeps a proposal from its quorum."""
        yes = [who for who, word in paper.said.items() if word.verdict == "approve" and not word.over and self.may(who)]
        objected = any(word.verdict == "request_changes" for word in paper.said.values())
        return self.life[paper.version] in ("retired", "revoked") or objected or len(yes) < QUORUM

    def may(self, who):
        return self.member[who] and self.granted[who]

    def closed(self, who, paper):
        """Return why nobody, or not `who`, has a say; None if they do."""
        if not self.member[who]:
            return "not_found"
        if paper.state not in ("open", "approved"):
            return "proposal_not_open"
        return "proposal_expired" if paper.state == "open" and paper.over else None

    def settle(self, paper):
        """Note that a proposal may have its quorum now."""
        if paper.state == "open" and not self.lacks(paper):
            paper.state = "approved"

    def paper(self, pick):
        return self.papers[pick % len(self.papers)]

    def expect(self, code, act):
        """Do it; it has to end as the model says: None, or the code of a refusal."""
        try:
            result = act()
        except Refusal as refusal:
            assert refusal.code == code, f"refused as {refusal.code}, the model says {code}: {refusal.detail}"
            return None
        assert code is None, f"it went through, the model says {code}"
        return result

    @property
    def how(self):
        return self.scene.build.how

    def verdict(self, paper, who):
        digest = self.rows[paper.version].digest
        return {"approver": self.scene.people[who], "digest": digest, "role": None, "comment": "Said.", **self.how}

    # What people do.

    @rule(which=WHICH)
    def propose(self, which):
        ended = self.life[which] in ("retired", "revoked")
        act = lambda: self.scene.build.propose(self.rows[which])  # noqa: E731
        row = self.expect(f"version_{self.life[which]}" if ended else None, act)
        if ended:
            return
        mine = next((paper for paper in self.papers if (paper.version, paper.state) == (which, "open")), None)
        if mine is not None and mine.over:
            mine.state, mine = "expired", None
        if mine is None:
            self.papers.append(Paper(which, row))
        else:
            assert row.pk == mine.row.pk

    @precondition(lambda self: self.papers)
    @rule(pick=PICK, who=WHO)
    def approve(self, pick, who):
        paper = self.paper(pick)
        code = self.closed(who, paper)
        word = paper.said.get(who)
        if code is None and self.life[paper.version] in ("retired", "revoked"):
            code = f"version_{self.life[paper.version]}"
        if code is None and not self.granted[who]:
            code = "role_missing"
        if code is None and word is not None and word.verdict == "approve":
            code = "already_approved"
        self.expect(code, lambda: approvals.approve(paper.row, **self.verdict(paper, who)))
        if code is None:
            paper.said[who] = Word("approve")
            self.settle(paper)

    @precondition(lambda self: self.papers)
    @rule(pick=PICK, who=WHO)
    def object(self, pick, who):
        paper = self.paper(pick)
        code = self.closed(who, paper) or (None if self.granted[who] else "role_missing")
        self.expect(code, lambda: approvals.request_changes(paper.row, **self.verdict(paper, who)))
        if code is None:
            paper.said[who] = Word("request_changes")

    @precondition(lambda self: self.papers)
    @rule(pick=PICK, who=WHO)
    def reject(self, pick, who):
        paper = self.paper(pick)
        code = self.closed(who, paper) or (None if self.granted[who] else "role_missing")
        if code is None and paper.state == "approved":
            code = "transition_refused"
        self.expect(code, lambda: approvals.reject(paper.row, **self.verdict(paper, who)))
        if code is None:
            paper.state = "rejected"
            paper.said.pop(who, None)

    @precondition(lambda self: any(paper.said for paper in self.papers))
    @rule(pick=PICK, who=WHO)
    def take_back(self, pick, who):
        mine = [paper for paper in self.papers if who in paper.said]
        if not mine:
            return
        paper = mine[pick % len(mine)]
        objected = paper.said[who].verdict == "request_changes"
        row = Approval.objects.filter(proposal=paper.row, approver=self.scene.people[who], withdrawn_at=None)
        row = row.exclude(verdict="reject").first()
        code = "already_activated" if not objected and paper.version in self.past else None
        self.expect(code, lambda: approvals.withdraw(row, actor=self.scene.people[who], **self.how))
        if code is None:
            del paper.said[who]
            if objected and not paper.over:
                self.settle(paper)

    @precondition(lambda self: self.papers)
    @rule(pick=PICK)
    def abandon(self, pick):
        paper = self.paper(pick)
        code = None if paper.state == "open" else "transition_refused"
        self.expect(code, lambda: proposals.withdraw(paper.row, actor=self.scene.people["alice"], **self.how))
        if code is None:
            paper.state = "withdrawn"

    @precondition(lambda self: self.papers)
    @rule(pick=PICK)
    def request(self, pick):
        paper = self.paper(pick)
        if paper.state == "open" and not paper.over:
            soon = Paper(paper.version, paper.row, "open", paper.over, paper.said)
            self.settle(soon)
        else:
            soon = paper
        code = "quorum_missing" if soon.state != "approved" or self.lacks(paper) else None
        if code is None and self.pending is not None and self.pending[:2] != ("activate", paper.version):
            code = "activation_pending"
        given = {"actor": self.scene.people["olga"], "proof": self.scene.proof, **self.how}
        self.expect(code, lambda: activations.request(paper.row, **given))
        if code is None:
            paper.state = soon.state
            self.pending = self.pending or ("activate", paper.version, paper, "requested")

    @rule(which=WHICH)
    def roll_back(self, which):
        code = None if which in self.past else "never_live"
        if code is None and self.life[which] == "revoked":
            code = "version_revoked"
        if code is None and self.pending is not None and self.pending[:2] != ("rollback", which):
            code = "activation_pending"
        given = {"actor": self.scene.people["olga"], "reason": "x", "proof": self.scene.proof, **self.how}
        self.expect(code, lambda: activations.roll_back(self.rows[which], self.where, **given))
        if code is None:
            self.pending = self.pending or ("rollback", which, None, "requested")

    @precondition(lambda self: self.pending and self.pending[3] == "requested")
    @rule()
    def publish(self):
        builders.publish(self.activation())
        self.pending = (*self.pending[:3], "published")

    @precondition(lambda self: self.pending)
    @rule()
    def finish(self):
        kind, version, paper, state = self.pending
        row = activations.finish(self.activation(), **self.how)
        if state == "requested":
            assert row.state == "requested"
            return
        life = self.life[version]
        if life == "revoked" or (life == "retired" and kind == "activate"):
            expected = ("failed", f"version_{life}")
        elif kind == "activate" and (paper.state != "approved" or self.lacks(paper)):
            expected = ("failed", "quorum_missing")
        else:
            expected = ("live", "")
            self.live = version
            self.past |= {version} if kind == "activate" else set()
        assert (row.state, row.failure) == expected
        self.pending = None

    @rule(who=WHO)
    def deactivate(self, who):
        memberships.deactivate(self.membership(who), actor=self.scene.people["adam"], **self.how)
        self.member[who] = False

    @rule(who=WHO)
    def bring_back(self, who):
        memberships.add(self.scene.workspace, self.scene.people[who], actor=self.scene.people["adam"], **self.how)
        self.member[who] = True

    @rule(who=WHO)
    def take_role(self, who):
        for row in Grant.objects.filter(membership=self.membership(who), role="reviewer", revoked_at=None):
            memberships.revoke(row, actor=self.scene.people["adam"], **self.how)
        self.granted[who] = False

    @rule(who=WHO)
    def give_role(self, who):
        given = {"environment": None, "actor": self.scene.people["adam"], **self.how}
        memberships.grant(self.membership(who), "reviewer", **given)
        self.granted[who] = True

    @rule(which=WHICH, state=st.sampled_from(("deprecated", "retired", "revoked")))
    def end(self, which, state):
        life = self.life[which]
        code = None
        if life != state:
            if state == "retired" and self.live == which:
                code = "version_live"
            elif {"deprecated": life != "available", "retired": life != "deprecated", "revoked": False}[state]:
                code = "transition_refused"
        verb = {"deprecated": versions.deprecate, "retired": versions.retire, "revoked": versions.revoke}[state]
        who = self.scene.people["adam" if state == "revoked" else "olga"]
        self.expect(code, lambda: verb(self.rows[which], actor=who, reason="x", **self.how))
        if code is None:
            self.life[which] = state

    # What time does.

    @precondition(lambda self: any(paper.state == "open" for paper in self.papers))
    @rule(pick=PICK)
    def let_a_proposal_run_out(self, pick):
        paper = [paper for paper in self.papers if paper.state == "open"][0 if pick < 3 else -1]
        query(OVER, paper.row.pk, using="owner")
        paper.over = True

    @precondition(lambda self: any(paper.said for paper in self.papers))
    @rule(who=WHO)
    def let_approvals_run_out(self, who):
        query("ALTER TABLE registry_approval DISABLE TRIGGER kept", using="owner")
        for paper in self.papers:
            if who in paper.said:
                rows = Approval.objects.filter(proposal=paper.row, approver=self.scene.people[who], withdrawn_at=None)
                for row in rows:
                    query(RUN_OUT, row.pk, using="owner")
                paper.said[who].over = True
        query("ALTER TABLE registry_approval ENABLE ALWAYS TRIGGER kept", using="owner")

    @rule()
    def sweep(self):
        proposals.expire_due(now=self.scene.now)
        for paper in self.papers:
            if paper.state == "open" and paper.over:
                paper.state = "expired"

    # What has to hold, whatever was done.

    @invariant()
    def the_rows_are_as_the_model_says(self):
        if not hasattr(self, "papers"):
            return
        states = dict(query("SELECT id, state FROM registry_proposal WHERE version_id = ANY(%s)", self.ids()))
        assert states == {paper.row.pk: paper.state for paper in self.papers}
        lives = dict(query("SELECT version_id, state FROM registry_lifecycle WHERE version_id = ANY(%s)", self.ids()))
        assert lives == dict(zip(self.ids(), self.life, strict=True))
        slot = Slot.objects.filter(environment=self.where, artifact=self.rows[0].artifact).first()
        assert (slot and slot.version_id) == (None if self.live is None else self.rows[self.live].pk)
        said = query(
            """SELECT proposal_id, approver_id, verdict FROM registry_approval
               WHERE version_id = ANY(%s) AND withdrawn_at IS NULL AND verdict <> 'reject'""",
            self.ids(),
        )
        people = {person.pk: name for name, person in self.scene.people.items()}
        told = {(paper.row.pk, who, word.verdict) for paper in self.papers for who, word in paper.said.items()}
        assert {(proposal, people[who], verdict) for proposal, who, verdict in said} == told
        rows = query(
            "SELECT kind, version_id, state FROM registry_activation WHERE artifact_id = %s AND finished_at IS NULL",
            self.rows[0].artifact_id,
        )
        pending = self.pending and [(self.pending[0], self.rows[self.pending[1]].pk, self.pending[3])]
        assert rows == (pending or [])

    def teardown(self):
        if getattr(self, "pending", None):
            rows = Activation.objects.filter(artifact=self.rows[0].artifact, finished_at=None)
            rows.update(state="failed", failure="bundle_late", finished_at=self.scene.now)

    def ids(self):
        return [row.pk for row in self.rows]

    def activation(self):
        return Activation.objects.get(artifact=self.rows[0].artifact, finished_at=None)

    def membership(self, who):
        return Membership.objects.get(workspace=self.scene.workspace, person=self.scene.people[who])


@dice.bouts(20, 600)
def test_versions_proposals_and_activations_do_what_the_model_says(db, count):
    Model.scene = Agreement()
    # Its parts are agreed on before, so that the model need not speak of them.
    first = Model.scene.build.propose(
        Model.scene.build.version(
            "agent",
            "first",
            {
                "pins": [{"kind": one.kind, "name": one.name, "digest": one.digest} for one in Model.scene.parts],
                "budgets": {},
            },
        )
    )
    Model.scene.build.approve(first, "bob", "carol")
    assert Model.scene.build.activate(first).state == "live"
    dice.play(Model, count, steps=20)
