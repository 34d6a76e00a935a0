"""A workspace whose people all act at once: histories of agreement, drawn from dice, for the ledger to judge."""

import secrets
import time
from datetime import UTC, datetime, timedelta

from django.db import DatabaseError
from django.db.models import Count, Q

from audit.refusal import Refusal
from registry import activations, approvals, memberships, proposals, versions, workspaces
from registry.authentication import Authentication
from registry.models import Activation, Approval, Environment, Grant, Membership, Person
from tests.races import commits
from tests.races.ledger import Ledger
from tests.registry import builders

REVIEWERS = ("bob", "carol", "dave")
QUORUM = 2


class Agreement:
    """The workspace and its people. :ivar lasts: for how many seconds an approval, and a proposal, of now are good."""

    def __init__(self):
        self.now = datetime.now(UTC)
        self.lasts = {"approval": 3600.0, "proposal": 3600.0}
        suffix = secrets.token_hex(4)
        names = ("alice", *REVIEWERS, "olga", "adam")
        self.people = {
            name: Person.objects.create_user(
                username=f"{name}-{suffix}", email=f"{name}-{suffix}@example.com", name=name
            )
            for name in names
        }
        roles = {
            "alice": ["author"],
            "olga": ["operator", "admin"],
            **{name: ["reviewer", "author"] for name in REVIEWERS},
        }
        members = [(self.people[name], role, None) for name, held in roles.items() for role in held]
        self.workspace = workspaces.init(
            f"r-{suffix}", "Races", admin=self.people["adam"], members=members, now=self.now, charter=charter(QUORUM)
        )
        self.build = builders.Builder(self.workspace, self.people, self.now)
        self.proof = Authentication(self.now, ("password",), enrolled=False)
        self.places = {
            row.name: row for row in Environment.objects.filter(workspace=self.workspace).exclude(name="staging")
        }
        self.ledger = Ledger(self.workspace.pk)
        self.parts = [self.build.version(), self.build.version("policy", "steward-policy")]

    def patch(self, monkeypatch):
        """Let an hour of the charter be what `lasts` says, so that things run out within a history."""
        for module, what in ((approvals, "approval"), (proposals, "proposal")):
            monkeypatch.setattr(module, "timedelta", lambda hours, what=what: timedelta(seconds=self.lasts[what]))

    def restore(self):
        """Bring everybody back who was deactivated or lost a grant, with two admins behind it."""
        adam, olga = self.people["adam"], self.people["olga"]
        whole = Membership.objects.filter(workspace=self.workspace, active=True).annotate(
            held=Count("grants", filter=Q(grants__revoked_at=None, grants__confirmed_at__isnull=False))
        )
        done = set(whole.filter(held=2).values_list("person_id", flat=True))
        for person in (self.people[name] for name in REVIEWERS):
            if person.pk in done:
                continue
            member = memberships.add(self.workspace, person, actor=adam, **self.build.how)
            for role in ("reviewer", "author"):
                row = memberships.grant(member, role, environment=None, actor=adam, **self.build.how)
                if row.confirmed_at is None:
                    memberships.confirm(row, actor=olga, proof=self.proof, **self.build.how)


def charter(approvals_needed, note=""):
    """Return the content of a charter that asks for so many approvals."""
    return {
        "description": f"{approvals_needed} {note}",
        "quorum": {
            "default": {"approvals": approvals_needed, "roles": ["reviewer"]},
            "rules": [{"kind": "charter", "approvals": 1, "roles": ["admin"]}],
        },
        "proposal_ttl_hours": 24,
        "approval_ttl_hours": 24,
    }


class History:
    """One history: what is set up one after the other, and then what happens at once."""

    def __init__(self, scene, number, dice):
        self.scene, self.number, self.dice = scene, number, dice
        self.started, self.log, self.count = {}, [], 0
        self.where = scene.places[dice.choice(["development", "development", "production"])]

    def set_up(self):
        """Propose one or two releases that may share a part that is new, and bring them as far as the dice say."""
        scene, dice = self.scene, self.dice
        scene.restore()
        parts = list(scene.parts)
        if dice.random() < 0.5:
            parts[0] = scene.build.version(content=builders.TOOL | {"description": f"Of history {self.number}."})
        names = ["steward"] if dice.random() < 0.7 else ["steward", "second"]
        self.releases = [self._release(name, parts) for name in names]
        scene.lasts["proposal"] = dice.choice([3600, 3600, dice.uniform(0.05, 0.4)])
        self.proposals = [scene.build.propose(release, self.where.name) for release in self.releases]
        scene.lasts["approval"] = dice.choice([3600, 3600, dice.uniform(0.1, 0.6)])
        for proposal in self.proposals:
            self._bring(proposal, dice.choice([0, 1, 2, 3, 4, 4, 4, 4, 4]))
        self.charter = self._charter() if dice.random() < 0.1 else None

    def works(self, count):
        """Return `count` functions, each of which does a few things one after the other."""
        draws = self.dice.choices(list(ODDS), list(ODDS.values()), k=self.dice.randint(4, count + 4))
        lanes = [[] for _ in range(count)]
        for turn, name in enumerate(draws):
            lanes[turn % count].append((name, self._bound(name), self.dice.choice([0, 0, self.dice.uniform(0, 0.03)])))
        return [lambda lane=lane: [self._do(*one) for one in lane] for lane in lanes]

    def tidy(self):
        """Let the bundler and the sweeper end what is under way, as they would."""
        Activation.objects.using("bundler").filter(workspace=self.scene.workspace, state="requested").update(
            state="published", published_at=self.scene.now
        )
        for row in Activation.objects.filter(workspace=self.scene.workspace, state="published"):
            self._quietly("finish in the end", lambda row=row: activations.finish(row, **self._asked()).state)

    def told(self):
        """Return what was done and what came of it, for a failing test."""
        return "\n".join(f"  {name}: {result}" for name, result in self.log)

    def how(self):
        """Return the keyword arguments of one act, with an id that finds its records again."""
        self.count += 1
        return {"now": self.scene.now, "correlation_id": f"h{self.number}-{self.count}"}

    def _release(self, name, parts):
        pins = [{"kind": part.kind, "name": part.name, "digest": part.digest} for part in parts]
        content = {"pins": pins, "budgets": {"steps": self.number + 1}}
        return self.scene.build.version("agent", name, content)

    def _bring(self, proposal, far):
        for name in self.dice.sample(REVIEWERS, QUORUM)[:far]:
            self._quietly(f"approve by {name}", lambda name=name: self._approve(proposal, name))
        if far >= 3:
            self._quietly("request", lambda: self._request(proposal))
        if far >= 4:
            self._quietly("publish", lambda: self._publish(proposal.version))

    def _charter(self):
        """Return the approved proposal of another charter."""
        content = charter(self.dice.choice([1, 2, 3]), f"history {self.number}")
        proposal = self.scene.build.propose(self.scene.build.version("charter", "charter", content), None)
        self._quietly("approve charter", lambda: self._approve(proposal, "adam"))
        return proposal

    def _bound(self, name):
        """Return the act of that name with its arguments drawn."""
        proposal = self.dice.choice(self.proposals)
        who = self.dice.choice(REVIEWERS)
        return lambda: ACTS[name](self, proposal, who)

    def _do(self, name, act, pause):
        time.sleep(pause)
        self._quietly(name, act)

    def _quietly(self, name, act):
        try:
            result = act()
        except Refusal as refusal:
            result = refusal.code
        except DatabaseError as error:  # a deadlock, a constraint: nothing that a person should ever see
            result = error
            self.scene.ledger.wrong.append(f"{name} raised {error!r}")
        self.log.append((name, result))

    def _approve(self, proposal, who):
        rows = approvals.approve(
            proposal,
            approver=self.scene.people[who],
            digest=proposal.version.digest,
            role=None,
            comment="",
            proof=self.scene.proof,
            **self.how(),
        )
        return [str(row.pk) for row in rows]

    def _take_back(self, proposal, who):
        row = Approval.objects.filter(proposal=proposal, approver=self.scene.people[who], withdrawn_at=None).first()
        return row and len(approvals.withdraw(row, actor=self.scene.people[who], **self.how()))

    def _object(self, proposal, who):
        person = self.scene.people[who]
        given = {"approver": person, "digest": proposal.version.digest, "role": None, "comment": "Wait."}
        approvals.request_changes(proposal, proof=self.scene.proof, **given, **self.how())

    def _reject(self, proposal, who):
        person = self.scene.people[who]
        given = {"approver": person, "digest": proposal.version.digest, "role": None, "comment": "No."}
        approvals.reject(proposal, proof=self.scene.proof, **given, **self.how())

    def _abandon(self, proposal, who):
        proposals.withdraw(proposal, actor=self.scene.people["alice"], **self.how())

    def _request(self, proposal, who=None):
        return activations.request(
            proposal, actor=self.scene.people["olga"], proof=self.scene.proof, **self._asked()
        ).state

    def _publish(self, version, who=None):
        rows = Activation.objects.using("bundler").filter(version=version, state="requested")
        return rows.update(state="published", published_at=self.scene.now)

    def _finish(self, proposal, who):
        """Do what the sweeper does: finish whatever is published in the environment."""
        rows = Activation.objects.filter(environment=self.where, state="published")
        return [activations.finish(row, **self._asked()).state for row in rows]

    def _deactivate(self, proposal, who):
        member = Membership.objects.get(workspace=self.scene.workspace, person=self.scene.people[who])
        memberships.deactivate(member, actor=self.scene.people["adam"], **self.how())

    def _bring_back(self, proposal, who):
        memberships.add(self.scene.workspace, self.scene.people[who], actor=self.scene.people["adam"], **self.how())

    def _revoke_grant(self, proposal, who):
        rows = Grant.objects.filter(
            membership__workspace=self.scene.workspace, membership__person=self.scene.people[who]
        )
        row = rows.filter(role="reviewer", revoked_at=None).first()
        return row and bool(memberships.revoke(row, actor=self.scene.people["adam"], **self.how()))

    def _grant(self, proposal, who):
        member = Membership.objects.get(workspace=self.scene.workspace, person=self.scene.people[who])
        memberships.grant(member, "reviewer", environment=None, actor=self.scene.people["adam"], **self.how())

    def _revoke(self, proposal, who):
        versions.revoke(proposal.version, actor=self.scene.people["adam"], reason="leak", **self.how())

    def _contribute(self, proposal, who):
        """Bring the same bytes once more, as somebody who may have approved them."""
        content = versions.content_of(proposal.version)
        given = {"kind": "agent", "name": proposal.version.name, "content": content}
        versions.create(self.scene.workspace, actor=self.scene.people[who], **given, **self.how())

    def _roll_back(self, proposal, who):
        """Bring back what stood there before; what is proposed, if nothing did, which must not work."""
        rows = Activation.objects.filter(environment=self.where, state="live", previous__isnull=False)
        row = rows.order_by("-pk").first()
        version = row.previous if row else proposal.version
        given = {"actor": self.scene.people["olga"], "reason": "x", "proof": self.scene.proof}
        state = activations.roll_back(version, self.where, **given, **self.how()).state
        self._publish(version)
        return state

    def _expire(self, proposal, who):
        return proposals.expire_due(now=self.scene.now)

    def _change_charter(self, proposal, who):
        if self.charter is None:
            return None
        given = {"actor": self.scene.people["adam"], "proof": self.scene.proof}
        return activations.request(self.charter, **given, **self._asked()).state

    def _asked(self):
        """Return `how` for what may finish an activation: the ledger needs the time before it began."""
        how = self.how()
        self.started[how["correlation_id"]] = commits.clock()
        return how


ACTS = {
    "approve": History._approve,
    "take back": History._take_back,
    "object": History._object,
    "reject": History._reject,
    "abandon": History._abandon,
    "request": History._request,
    "publish": lambda self, proposal, who: self._publish(proposal.version),
    "finish": History._finish,
    "deactivate": History._deactivate,
    "bring back": History._bring_back,
    "revoke grant": History._revoke_grant,
    "grant": History._grant,
    "revoke": History._revoke,
    "contribute": History._contribute,
    "roll back": History._roll_back,
    "expire": History._expire,
    "change charter": History._change_charter,
}
ODDS = {
    "approve": 4,
    "take back": 2,
    "object": 1,
    "reject": 0.3,
    "abandon": 0.3,
    "request": 3,
    "publish": 2,
    "finish": 9,
    "deactivate": 2,
    "bring back": 1,
    "revoke grant": 2,
    "grant": 1,
    "revoke": 0.6,
    "contribute": 0.8,
    "roll back": 0.6,
    "expire": 1,
    "change charter": 0.6,
}
