"""What brings a version to life: approvals, activations of every kind, the bundler."""

from registry import activations, approvals, bundles
from registry.models import Activation, Approval, Environment, Pdp, Proposal, Slot, Version
from tests.audit import trails
from tests.chaos.deeds.deed import Deed, how
from tests.chaos.deeds.people import person
from tests.gateway.stage import fresh


class Approved(Deed):
    """A reviewer approves, or takes it back."""

    known = ("already_approved", "approval_withdrawn", "proposal_not_open")

    def __init__(self, what):
        self.what = what

    def prepare(self, scene):
        proposal = scene.build.propose(scene.build.release(name=fresh("agent")))
        order = {"proposal": str(proposal.pk), "by": scene.person("bob")}
        if self.what == "withdraw":
            [order["approval"], *_] = [str(row.pk) for row in scene.build.approve(proposal, "bob")]
        return order

    def do(self, order):
        if self.what == "withdraw":
            approvals.withdraw(Approval.objects.get(pk=order["approval"]), actor=person(order["by"]), **how())
            return
        proposal = Proposal.objects.get(pk=order["proposal"])
        said = {"digest": proposal.version.digest, "role": None, "comment": "Looks right."}
        approvals.approve(proposal, approver=person(order["by"]), **said, **how())

    def check(self, scene, order):
        rows = Approval.objects.filter(proposal=order["proposal"], withdrawn_at=None)
        recorded = scene.count("registry.approval.created", "{subjects,proposal}", order["proposal"])
        proposal = Proposal.objects.get(pk=order["proposal"])
        if self.what == "approve":
            assert rows.count() == recorded > 0
            assert proposal.state == "approved"
        else:
            assert not rows.exists()
            assert approvals.missing(proposal)


class Activated(Deed):
    """A release goes live: asked for by olga, published by the bundler, finished by the sweeper."""

    kind = "activate"

    def prepare(self, scene):
        proposal = scene.build.propose(scene.build.release(name=fresh("agent")))
        scene.build.approve(proposal, "bob")
        return self.order(scene, proposal.version) | {"proposal": str(proposal.pk)}

    def order(self, scene, version):
        where = scene.build.environment()
        Pdp.objects.filter(environment=where).delete()
        return {"environment": str(where.pk), "version": str(version.pk), "by": scene.person("olga")}

    def asked(self, order):
        activations.request(Proposal.objects.get(pk=order["proposal"]), actor=person(order["by"]), **how())

    def do(self, order):
        if not self.of(order).exists():
            self.asked(order)
        bundles.publish(order["environment"], now=how()["now"], using="bundler")
        for row in self.of(order).filter(state="published"):
            activations.finish(row, **how())

    def of(self, order):
        return Activation.objects.filter(version=order["version"], kind=self.kind)

    def check(self, scene, order):
        row = self.of(order).get()
        assert row.state == "live", row.failure
        for event in ("requested", "published", "finished"):
            assert scene.count(f"registry.activation.{event}", "{subjects,activation}", str(row.pk)) == 1
        slot = Slot.objects.get(environment=order["environment"], artifact=row.artifact_id)
        assert str(slot.version_id) == order["version"]
        # What calls are decided by holds the policy: a slot never goes live before its bundle.
        environment = Environment.objects.get(pk=order["environment"])
        assert bundles.find(environment.workspace_id, environment.name, environment.bundle_revision)


class RolledBack(Activated):
    """What was live before comes back."""

    kind = "rollback"

    def prepare(self, scene):
        name = fresh("agent")
        old, new = (scene.build.release(name=name, budgets={"steps": steps}) for steps in (3, 4))
        for version in (old, new):
            scene._activate(version, "development")
        return self.order(scene, old)

    def asked(self, order):
        version, where = Version.objects.get(pk=order["version"]), Environment.objects.get(pk=order["environment"])
        activations.roll_back(version, where, actor=person(order["by"]), reason="It misbehaves.", **how())


class BrokenGlass(Activated):
    """A release without a quorum, for an hour at most, on record."""

    kind = "break_glass"

    def prepare(self, scene):
        return self.order(scene, scene.build.release(name=fresh("agent")))

    def asked(self, order):
        version, where = Version.objects.get(pk=order["version"]), Environment.objects.get(pk=order["environment"])
        said = {"actor": person(order["by"]), "reason": "The house is on fire.", "minutes": 30}
        activations.break_glass(version, where, **said, **how())


class Reverted(BrokenGlass):
    """Its hour is over."""

    def prepare(self, scene):
        order = super().prepare(scene)
        super().do(order)
        for table in ("activation", "slot"):
            pass_time(f"UPDATE registry_{table} SET expires_at = now() WHERE version_id = %s", order["version"])
        return order

    def do(self, order):
        activations.revert_due(now=how()["now"])

    def check(self, scene, order):
        row = self.of(order).get()
        assert row.reverted_at is not None
        assert scene.count("registry.activation.reverted", "{subjects,activation}", str(row.pk)) == 1
        assert Slot.objects.get(environment=order["environment"], artifact=row.artifact_id).version_id is None


class Stuck(Activated):
    """Nobody published it in time."""

    def prepare(self, scene):
        order = super().prepare(scene)
        self.asked(order)
        late = "UPDATE registry_activation SET requested_at = now() - interval '1 hour' WHERE version_id = %s"
        pass_time(late, order["version"])
        return order

    def do(self, order):
        activations.fail_stuck(now=how()["now"])

    def check(self, scene, order):
        row = self.of(order).get()
        assert (row.state, row.failure) == ("failed", "bundle_late")
        assert scene.count("registry.activation.failed", "{subjects,activation}", str(row.pk)) == 1


def pass_time(statement, version):
    """Let time have passed over a row that nobody may change."""
    with trails.superuser() as owner:
        owner.execute(statement, [version])


DEEDS = {
    "approval:give": Approved("approve"),
    "approval:withdraw": Approved("withdraw"),
    "activation": Activated(),
    "activation:rollback": RolledBack(),
    "activation:break glass": BrokenGlass(),
    "activation:revert": Reverted(),
    "activation:stuck": Stuck(),
}
