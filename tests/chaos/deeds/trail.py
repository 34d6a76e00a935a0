"""The trail: records come into the tree, the tree is signed, keys are changed."""

import contextlib
from io import StringIO
from uuid import UUID, uuid4

from django.conf import settings
from django.core.management import CommandError, call_command

from audit import files, fsck, halts, jobs, keys, losses, publisher, rotation, sequencer, vault, verify
from registry import bundle_keys, bundlefile, bundles
from tests.audit import trails
from tests.chaos.deeds.deed import Deed, how


class Logged(Deed):
    """A log of its own, of which an auditor holds an earlier checkpoint."""

    def prepare(self, scene):
        workspace = uuid4()
        trails.write(workspace, 3)
        held = trails.publish(workspace)
        trails.write(workspace, 4)
        return {"workspace": str(workspace), "held": held, "records": 7, "key": trails.key_of(workspace)}

    def check(self, scene, order):
        workspace = UUID(order["workspace"])
        trails.publish(workspace)
        report = fsck.check(workspace)
        assert (report.problems, report.leaves) == ([], report.records)
        assert report.records >= order["records"]
        # Who pinned the first key follows the log, whatever has become of it since.
        pinned = [verify.read_key(order["key"])]
        evidence = verify.Evidence(pinned, [verify.open_checkpoint(order["held"], pinned)], [])
        assert verify.verify_export(trails.file(trails.exported(workspace)), evidence).complete


class Sequenced(Logged):
    """The sequencer integrates what is pending."""

    def do(self, order):
        sequencer.sequence(UUID(order["workspace"]), using="sequencer")


class Published(Logged):
    """The publisher signs the head."""

    def prepare(self, scene):
        order = super().prepare(scene)
        sequencer.drain(UUID(order["workspace"]), using="sequencer")
        return order

    def do(self, order):
        publisher.publish(UUID(order["workspace"]), using="publisher")


class First(Logged):
    """The first checkpoint of a log is signed, with a key that is made for it."""

    def prepare(self, scene):
        workspace = uuid4()
        trails.write(workspace, 4)
        sequencer.drain(workspace, using="sequencer")
        return {"workspace": str(workspace), "records": 4}

    def do(self, order):
        publisher.publish(UUID(order["workspace"]), using="publisher")

    def check(self, scene, order):
        workspace = UUID(order["workspace"])
        assert keys.signed(workspace)
        held = publisher.copy_path(workspace).read_text()
        super().check(scene, order | {"held": held, "key": trails.key_of(workspace)})


class Halted(Published):
    """The publisher refuses a log whose copy is missing, and signs it when it is there again.

    :param back: whether it is there again.
    """

    def __init__(self, *, back):
        self.back = back

    def prepare(self, scene):
        order = super().prepare(scene)
        place = publisher.copy_path(UUID(order["workspace"]))
        place.rename(place.with_suffix(".away"))
        if self.back:
            self.do(order)
            place.with_suffix(".away").rename(place)
        return order

    def do(self, order):
        with contextlib.suppress(publisher.Refused):
            super().do(order)

    def check(self, scene, order):
        workspace = UUID(order["workspace"])
        halt = halts.of(workspace)
        assert (halt and halt.code) == (None if self.back else "copy_missing")
        place = publisher.copy_path(workspace)
        if not self.back:
            place.with_suffix(".away").rename(place)
        super().check(scene, order)
        assert halts.of(workspace) is None


class Announced(Logged):
    """The next key of a log is made and announced."""

    def do(self, order):
        rotation.announce(UUID(order["workspace"]), **how())

    def check(self, scene, order):
        super().check(scene, order)
        assert len(scene.bodies(order["workspace"], verify.ANNOUNCED)) == 1


class Promoted(Published):
    """The publisher goes over to the announced key."""

    def prepare(self, scene):
        order = Logged.prepare(self, scene)
        workspace = UUID(order["workspace"])
        rotation.announce(workspace, **how())
        trails.publish(workspace)
        trails.write(workspace, 2)
        sequencer.drain(workspace, using="sequencer")
        return order | {"records": 10}

    def check(self, scene, order):
        super().check(scene, order)
        assert trails.key_of(UUID(order["workspace"])) != order["key"]


class Renewed(Logged):
    """A log whose key is lost goes on under another one, in a new epoch."""

    def prepare(self, scene):
        order = super().prepare(scene)
        (settings.PLACET_KEYS / f"checkpoint-{order['workspace']}.key").unlink()
        return order

    def do(self, order):
        workspace = UUID(order["workspace"])
        if losses.begun(workspace):
            return  # as `recovery accept` looks whether it was done
        loss = losses.Loss("key", order["held"], "The disk with the key was lost.")
        losses.begin_epoch(workspace, loss, actor="system:test", using="owner", **how())

    def check(self, scene, order):
        workspace = UUID(order["workspace"])
        trails.publish(workspace)
        assert fsck.check(workspace).problems == []
        assert len(scene.bodies(workspace, losses.ACKNOWLEDGED)) == 1
        new = [verify.read_key(trails.key_of(workspace))]
        verify.verify_export(trails.file(trails.exported(workspace)), verify.Evidence(new, [], []))
        assert trails.key_of(workspace) != order["key"]


class Exported(Deed):
    """A worker writes the file of an export that somebody has asked for."""

    def prepare(self, scene):
        workspace = trails.published(6)
        job = files.create(workspace, form="ndjson", actor="system:test", **how())
        return {"job": str(job.pk), "workspace": str(workspace), "key": trails.key_of(workspace)}

    def do(self, order):
        jobs.work(lambda: how()["now"], using="worker")

    def recover(self, scene, order):
        with trails.superuser() as owner:
            lapse = "UPDATE audit_job SET lease_until = now() WHERE id = %s AND state = 'running'"
            owner.execute(lapse, [order["job"]])
        self.do(order)

    def check(self, scene, order):
        job = jobs.get(UUID(order["workspace"]), UUID(order["job"]), kind=files.KIND)
        assert (job.state, job.problem) == ("done", "")
        content = b"".join(files.content(job, actor="system:test", **how()))
        pinned = [verify.read_key(order["key"])]
        verify.verify_export(trails.file(content), verify.Evidence(pinned, [], []))
        assert len(content) == job.result["bytes"] == files.path(job).stat().st_size


class Keys(Deed):
    """An operator changes a key, and runs the command again where it was cut off: no change goes unrecorded."""

    def __init__(self, *words):
        self.words = words

    def prepare(self, scene):
        if self.words[0] in ("retire", "rewrap"):
            manage("rotate", "values.kek" if self.words[0] == "rewrap" else self.words[1])
        return {"before": self.ids()}

    def do(self, order):
        manage(*self.words)

    def again(self, order):
        try:
            self.do(order)
        except CommandError as error:
            assert "not over" in str(error)  # it was done, and the old key still signs

    def ids(self):
        """Return what the keys of the file are called."""
        name = "values.kek" if self.words[0] == "rewrap" else self.words[1]
        if name == "bundle":
            return [bundlefile.key_id(key) for key in bundle_keys.pinned(settings.PLACET_KEYS)]
        if name == "receipt":
            return [keys.receipt().id, *(line.split("+")[1] for line in keys.public("receipt"))]
        return [keys.secret_id(raw) for raw in keys.every_secret(name)]

    def check(self, scene, order):
        told = scene.bodies(scene.workspace.pk, "audit.key.%")
        named = {body["subjects"]["key"] for body in told}
        gone = {one for body in told for one in body["data"].get("gone", ())}
        new, dropped = set(self.ids()) - set(order["before"]), set(order["before"]) - set(self.ids())
        assert new <= named
        assert dropped <= named | gone
        assert (self.words[0] == "rotate") == bool(new)
        if self.words[0] == "retire":
            assert len(set(self.ids())) == 1
        if self.words[0] == "rewrap":
            assert vault.wrapped_by_others() == 0
            assert any(body["event"] == "audit.key.rewrapped" for body in told)
        if self.words[1:] == ("bundle",):
            self.publish(scene)
            manage("retire", "bundle")
            assert not bundle_keys.older(settings.PLACET_KEYS)
            self.publish(scene)
        # Whatever was cut off: what it opens, signs and makes is as good as before.
        assert scene.call(scene.agent(), "put").status == "finished"

    def publish(self, scene):
        """Do the bundler's next round: what the keys of before have signed is signed anew."""
        bundles.publish(scene.build.environment().pk, now=how()["now"], using="bundler")


def manage(*words):
    """Run `manage.py keys`."""
    more = ["--now"] if words[0] == "retire" and words[1] != "bundle" else []
    call_command("keys", *words, *more, stdout=StringIO())


DEEDS = {
    "sequence": Sequenced(),
    "log:new epoch": Renewed(),
    "export": Exported(),
    "publish": Published(),
    "publish:first": First(),
    "publish:refused": Halted(back=False),
    "publish:no longer refused": Halted(back=True),
    "key:announce": Announced(),
    "key:promote": Promoted(),
    "key:receipt": Keys("rotate", "receipt"),
    "key:bundle": Keys("rotate", "bundle"),
    "key:bundle retired": Keys("retire", "bundle"),
    "key:calls": Keys("rotate", "executor.hmac"),
    "key:calls retired": Keys("retire", "executor.hmac"),
    "key:rewrap": Keys("rewrap"),
}
