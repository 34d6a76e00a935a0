"""A disk without room: nothing runs unrecorded, no torn file is taken for whole, and with room again it goes on."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command

from audit import checkpoints, files, fsck, jobs, publisher, sequencer, verify
from config.embedded.processes import StartFailed
from tests import embedded
from tests.audit import trails
from tests.chaos import disks
from tests.chaos.seeds import rounds
from tests.gateway.stage import fresh

ROOM = 96 << 20  # of the database's disk: the migrated copy takes half of it
HOW = {"correlation_id": "disk"}


class Placet:
    """A database on a small disk, and a process whose agent calls `pay` there."""

    def __init__(self, home, log):
        self.home, self.log, self.server, self.process = home, log, None, None
        subprocess.run(["cp", "-a", f"{embedded._template()}/.", str(home)], check=True)

    def start(self):
        """Start the server, or start it again after it has ended, as its supervisor does."""
        if self.server is not None and self.server.process.poll() is None:
            return
        if self.server is not None:
            self.server.stop()
        self.server = embedded._start(self.home)

    def live(self):
        """Start the agent."""
        self.log.touch()
        more = {"DJANGO_SETTINGS_MODULE": "tests.settings", "STAGE_LOG": str(self.log)}
        more |= {"PLACET_DECISION_TIMEOUT_MS": "10000", "PLACET_LEASE_SECONDS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-m", "tests.chaos.full"]
        self.process = subprocess.Popen(command, env=embedded.environment(self.home) | more, **pipes)
        assert self.process.stdout.readline(), "the agent has ended"

    def ask(self, order):
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def effects(self):
        return [json.loads(line)["value"] for line in self.log.read_text().splitlines()]

    def switch(self):
        """Have the log of the database go over to a new file."""
        info = embedded._superuser(self.home)
        try:
            with psycopg.connect(info, autocommit=True, connect_timeout=5) as connection:
                connection.execute("SELECT pg_switch_wal()")
        except psycopg.OperationalError:
            pass  # it may die of it, and that is what we want to see

    def end(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
        if self.server is not None:
            self.server.stop()


@contextmanager
def placet(log, room=ROOM):
    with disks.tmpfs(room) as home:
        made = Placet(home, log)
        try:
            made.start()
            made.live()
            yield made
        finally:
            made.end()


def told(answers):
    """Return of each answer whether it ran. It did, or was refused, or an earlier try still holds its key."""
    for status, body in answers:
        assert status in (200, 503) or (status, body["code"]) == (409, "in_flight"), (status, body)
    return [status == 200 and body["status"] == "finished" for status, body in answers]


def through(placet, leave=0):
    """Fill the disk, call, make room, call again under the same keys; return how many calls were refused meanwhile."""
    before = [fresh() for _ in range(3)]
    assert all(told(placet.ask({"call": before})))
    hog = disks.fill(placet.home, leave)
    placet.switch()
    keys = [fresh() for _ in range(8)]
    answers = placet.ask({"call": keys})
    ran = told(answers)
    # Refused is refused: a call that was told 503 before its decision has not reached its tool.
    for key, (status, body) in zip(keys, answers, strict=True):
        if status == 503:
            assert body["code"] in ("decision_unrecorded", "unavailable"), body
            assert placet.effects().count(key) == 0, body
    hog.unlink()
    for _ in range(60):
        with suppress(StartFailed):  # it may have died of it, and be long in coming back
            placet.start()
        answers = placet.ask({"call": keys})
        if all(told(answers)):
            break
        time.sleep(0.2)  # what died undecided holds its key until its lease is over
    assert all(told(answers)), answers
    # What was on record before is there, and is not done again.
    assert all(body["replayed"] for _, body in placet.ask({"call": before}))
    assert all(placet.effects().count(key) >= 1 for key in keys + before)
    assert all(placet.effects().count(key) == 1 for key in before)
    assert placet.ask({"check": True}) == []
    return ran.count(False)


def test_while_the_disk_of_the_database_is_full_nothing_runs_and_then_everything_goes_on(tmp_path):
    with placet(tmp_path / "effects") as made:
        assert through(made) > 0, "the disk was never full"


@pytest.fixture
def small(db, settings):
    """PLACET_HOME on a disk of 64 kB; keys and database are elsewhere."""
    with disks.tmpfs(64 << 10) as place:
        settings.PLACET_HOME = place
        yield place


def test_a_checkpoint_that_cannot_be_kept_outside_is_not_published_and_the_old_one_stays_whole(small):
    workspace = trails.published(3)
    old = publisher.copy_path(workspace).read_text()
    trails.write(workspace, 2)
    sequencer.drain(workspace, using="sequencer")
    hog = disks.fill(small)
    with pytest.raises(publisher.Refused) as refused:
        publisher.publish(workspace, using="publisher")
    assert refused.value.code == "copy_unwritable"
    assert publisher.copy_path(workspace).read_text() == old
    assert [row.size for row in checkpoints.newest(workspace)] == [3]
    hog.unlink()
    assert publisher.publish(workspace, using="publisher") == 1
    pinned = [verify.read_key(trails.key_of(workspace))]
    assert verify.open_checkpoint(publisher.copy_path(workspace).read_text(), pinned).size == 5
    assert fsck.check(workspace).problems == []


def test_one_log_whose_copy_cannot_be_kept_holds_up_no_other(small, settings):
    first, second = trails.published(1), trails.published(1)
    for workspace in (first, second):
        trails.write(workspace, 1)
        sequencer.drain(workspace, using="sequencer")
    publisher.copy_path(first).with_suffix(".new").mkdir()
    with pytest.raises(publisher.Refused):
        publisher.publish(using="publisher")
    assert [checkpoints.newest(one)[0].size for one in (first, second)] == [1, 2]


def test_an_export_without_room_fails_and_leaves_nothing_that_looks_whole(small, tmp_path):
    workspace = trails.published(60)
    hog = disks.fill(small, leave=8 << 10)
    job = files.create(workspace, form="ndjson", actor="system:test", now=datetime.now(UTC), **HOW)
    jobs.work(lambda: datetime.now(UTC), using="worker")
    job.refresh_from_db()
    assert (job.state, job.code) == ("failed", "file_unwritable")
    assert list(files.path(job).parent.iterdir()) == []
    with pytest.raises(CommandError, match="No space left"):
        call_command("export_trail", str(workspace), "-o", str(small / "trail.ndjson"), stderr=StringIO())
    assert {path.name for path in small.iterdir()} == {"checkpoints", "exports", "hog"}
    hog.unlink()
    call_command("export_trail", str(workspace), "-o", str(tmp_path / "trail.ndjson"), stderr=StringIO())
    assert len((tmp_path / "trail.ndjson").read_text().splitlines()) > 60


def test_a_file_that_ends_anywhere_is_not_taken_for_whole(db):
    """As a disk leaves it that fills up, or loses power, beneath a program that did not look."""
    workspace = trails.published(12)
    whole, pinned = trails.exported(workspace), [verify.read_key(trails.key_of(workspace))]
    note = publisher.copy_path(workspace).read_bytes()
    verify.verify_export(trails.file(whole), verify.Evidence(pinned, [], []))
    for size in [*range(0, len(whole) - 1, 97), len(whole) - 1]:
        with pytest.raises(verify.NotVerified):
            verify.verify_export(trails.file(whole[:size]), verify.Evidence(pinned, [], []))
    for size in range(len(note)):
        with pytest.raises(verify.NotVerified):
            verify.open_checkpoint(note[:size].decode(errors="replace"), pinned)


@pytest.mark.slow
def test_a_disk_that_fills_up_again_and_again_loses_nothing(tmp_path):
    refused = 0
    with placet(tmp_path / "effects", 4 * ROOM) as made:  # its log grows with each round
        for chance in rounds("disks", 10):
            refused += through(made, leave=chance.choice([0, 0, 4096, 65_536, 1 << 20]))
    print("calls refused while the disk was full:", refused)
    assert refused > 0
