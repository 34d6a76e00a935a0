"""Exports and checks that a worker makes: fixed when they are asked for, and lost by nobody's death."""

import csv
import hashlib
import io
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from audit import files, fsck, inspections, jobs, publisher, records, sequencer, verify
from audit.refusal import Refusal
from tests.audit import trails

HOW = {"actor": "system:test", "correlation_id": "test"}


@pytest.fixture
def grown(workspace, now):
    """A workspace with some records under a checkpoint."""
    sequencer.drain(workspace.pk, using="sequencer")
    publisher.publish(workspace.pk, using="publisher")
    return workspace.pk


def work():
    return jobs.work(lambda: datetime.now(UTC), using="worker")


def ask(workspace, form="ndjson", **more):
    return files.create(workspace, form=form, now=datetime.now(UTC), **HOW, **more)


def again(job):
    return jobs.get(job.workspace, job.pk, kind=job.kind)


def fetched(job):
    return b"".join(files.content(again(job), now=datetime.now(UTC), **HOW))


def test_a_whole_export_is_written_by_a_worker_and_verifies_offline(grown, now):
    job = ask(grown)
    with pytest.raises(Refusal, match="not written yet"):
        fetched(job)
    work()
    raw = fetched(job)
    done = again(job)
    assert (done.state, done.result["bytes"]) == ("done", len(raw))
    assert done.result["sha256"] == hashlib.sha256(raw).hexdigest()
    keys = publisher.pinned(grown)
    report = verify.verify_export(io.BytesIO(raw), verify.Evidence(keys=keys))
    assert report.records == records.state(grown).checkpoint.size
    events = [row.event for row in records.newest(grown, limit=3)]
    assert events[:2] == ["audit.export.downloaded", "audit.export.created"]


def test_an_export_is_the_same_where_its_file_is_gone_and_after_the_log_has_grown(grown, now):
    job = ask(grown, narrow={"event": "registry."})
    work()
    before = fetched(job)
    files.path(again(job)).unlink()
    sequencer.drain(grown, using="sequencer")
    publisher.publish(grown, using="publisher")
    assert fetched(job) == before


def test_a_range_of_time_narrows_an_excerpt(grown, now):
    nothing = ask(grown, narrow={"recorded_since": (now + timedelta(days=1)).isoformat()})
    everything = ask(grown, narrow={"recorded_until": (now + timedelta(days=1)).isoformat()})
    work()
    assert fetched(nothing).endswith(b'{"records":0}\n')
    assert fetched(everything).endswith(b'{"records":%d}\n' % again(everything).total)


def test_a_table_has_every_record_with_its_hash_and_no_cell_that_a_spreadsheet_would_run(grown, now):
    job = ask(grown, "csv")
    work()
    rows = list(csv.DictReader(io.StringIO(fetched(job).decode())))
    assert [int(row["index"]) for row in rows] == list(range(again(job).total))
    kept = records.get(rows[0]["id"])
    assert rows[0]["leaf_hash"] == kept.leaf_hash.hex() and rows[0]["event"] == kept.event
    from audit.formats import _harmless

    assert _harmless("=cmd|' /C calc'!A0").startswith("'=") and _harmless("gateway.call.decided")[0] == "g"


def test_what_cannot_be_exported_is_refused_before_anything_is_recorded(grown, now):
    mark = records.newest(grown, limit=1)[0].id
    for wrong, code in (({"form": "pdf"}, "format_unknown"), ({"first": 10_000}, "first_out_of_range")):
        with pytest.raises(Refusal) as refused:
            ask(grown, **wrong)
        assert refused.value.code == code
    assert records.newest(grown, limit=1)[0].id == mark


def test_no_more_than_a_few_jobs_of_a_workspace_wait(grown, now):
    for _ in range(jobs.MOST_WAITING):
        ask(grown)
    mark = records.newest(grown, limit=1)[0].id
    with pytest.raises(Refusal) as refused:
        ask(grown)
    assert refused.value.code == "jobs_waiting" and records.newest(grown, limit=1)[0].id == mark
    work()
    ask(grown)
    work()


def lapse(job):
    with connections["worker"].cursor() as cursor:
        cursor.execute("UPDATE audit_job SET lease_until = now() - interval '1 s' WHERE id = %s", [job.pk])


def test_a_job_whose_worker_died_is_done_by_the_next_one(grown, now):
    job = ask(grown)
    assert jobs.claim(using="worker").pk == job.pk
    assert jobs.claim(using="worker") is None  # somebody has it
    lapse(job)
    work()
    assert again(job).state == "done" and fetched(job)


def test_a_job_that_kills_its_workers_is_given_up(grown, now):
    job = ask(grown)
    for _ in range(jobs.MOST_TRIES):
        assert jobs.claim(using="worker").pk == job.pk
        lapse(job)
    work()
    assert (again(job).state, again(job).code) == ("failed", "job_poisonous")


def test_a_worker_that_lost_its_lease_ends_nothing(grown, now):
    job = ask(grown)
    slow = jobs.claim(using="worker")
    lapse(job)
    work()
    jobs._do(slow, lambda: datetime.now(UTC), "worker")
    assert again(job).state == "done" and again(job).fence == 2


def test_a_file_that_cannot_be_written_is_told_and_leaves_nothing(grown, now, settings, tmp_path):
    settings.PLACET_HOME = tmp_path / "a file"
    settings.PLACET_HOME.write_text("")
    job = ask(grown)
    work()
    assert (again(job).state, again(job).code) == ("failed", "file_unwritable")


def test_a_check_finds_what_somebody_changed_and_puts_it_on_record(grown, now):
    job = inspections.request(grown, now=now, **HOW)
    assert inspections.request(grown, now=now, **HOW).pk == job.pk  # one that waits is enough
    work()
    last = inspections.last(grown)
    assert (last.pk, last.state, last.result["problems"]) == (job.pk, "done", [])
    row = records.newest(grown, limit=1)[0]
    assert (row.event, row.body["data"]["whole"]) == ("audit.inspection.finished", True)
    gone = "DELETE FROM audit_record WHERE workspace = %s AND event = 'registry.workspace.created'"
    trails.tamper("audit_record", gone, grown)
    inspections.request(grown, now=now, **HOW)
    work()
    problems = inspections.last(grown).result["problems"]
    assert any("has no record" in problem for problem in problems)
    assert records.newest(grown, limit=1)[0].body["data"]["whole"] is False


def test_a_log_is_checked_anew_only_after_a_day_and_when_it_has_grown(grown, now):
    def due(at):
        before = {row.pk for row in jobs.newest(grown, inspections.KIND, limit=50)}
        while inspections.request_due(at):
            work()
        sequencer.drain(grown, using="sequencer")
        return [row for row in jobs.newest(grown, inspections.KIND, limit=50) if row.pk not in before]

    assert len(due(now)) == 1
    assert due(now + timedelta(hours=1)) == []
    assert due(now + timedelta(days=2)) == []  # nothing but the check itself was recorded since
    ask(grown)
    work()
    sequencer.drain(grown, using="sequencer")
    assert len(due(now + timedelta(days=3))) == 1
    assert fsck.check(grown).problems == []


def test_the_web_process_may_ask_but_not_do(grown, now):
    from django.db import ProgrammingError

    ask(grown)
    with pytest.raises(ProgrammingError, match="permission denied"):
        jobs.claim()
    work()
