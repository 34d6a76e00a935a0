"""What the line of calls reads: the live release, under the baseline of the moment, and never a stopped one."""

import secrets
import threading
import time

import pytest
from django.db import connection, connections, transaction

from audit.refusal import Refusal
from registry import resolve, stops, versions, workspaces
from tests.registry.builders import MODEL, PROMPT, TOOL, policy


@pytest.fixture
def live(build):
    """A live release with a tool, a model and a prompt."""
    build.baseline()
    parts = [build.version(), build.version("model", "m", MODEL), build.version("prompt", "p", PROMPT)]
    release = build.release(parts, labels=["house"])
    build.live(release)
    return release


def refused(code, function, *args, **kwargs):
    with pytest.raises(Refusal) as caught:
        function(*args, **kwargs)
    assert caught.value.code == code, caught.value


def lock(release, tool="git_log"):
    with transaction.atomic(), connection.cursor() as cursor:
        return resolve.lock_shared(release, agent=release.agent, tool=tool, cursor=cursor)


def test_the_live_release_has_its_contracts_budgets_and_digests(build, live):
    found = resolve.live(build.workspace.pk, "development", "steward")
    assert (found.digest, found.agent, found.environment) == (live.digest, "steward", "development")
    assert found.tools["git_log"].content["effect"] == TOOL["effect"]
    assert set(found.models) == {"m"}
    assert set(found.prompts) == {"p"}
    assert found.budgets == {"steps": 20}
    assert found.labels == ("house",)
    assert found.policy in {part.digest for part in versions.parts_of(live)}
    assert found.baseline.startswith("sha256:")
    assert resolve.pinned(build.workspace.pk, "development", live.digest) == found


def test_nothing_resolves_where_nothing_is_live(build, live, people, now):
    other = workspaces.init(f"o-{secrets.token_hex(4)}", "Other", admin=people["mallory"], now=now)
    for workspace, environment, agent in (
        (build.workspace.pk, "staging", "steward"),
        (build.workspace.pk, "development", "nobody"),
        (build.workspace.pk, "nowhere", "steward"),
        (other.pk, "development", "steward"),
    ):
        refused("no_live_release", resolve.live, workspace, environment, agent)
    refused("no_live_release", resolve.pinned, other.pk, "development", live.digest)


def test_without_a_baseline_nothing_runs(build):
    build.live(build.release())
    refused("no_live_baseline", resolve.live, build.workspace.pk, "development", "steward")


def test_a_session_keeps_its_release_under_the_baseline_of_the_moment(build, live):
    before = resolve.live(build.workspace.pk, "development", "steward")
    build.live(build.release(budgets={"steps": 5}))
    build.live(build.version("policy", "baseline", policy("baseline") | {"description": "another"}))
    kept = resolve.pinned(build.workspace.pk, "development", live.digest)
    assert kept.digest == before.digest
    assert kept.baseline != before.baseline
    assert lock(before) == "release_changed"
    assert lock(kept) is None


def test_a_version_that_was_never_live_there_is_no_release_of_a_session(build, live):
    unapproved = build.release(budgets={"steps": 9})
    refused("break_glass_expired", resolve.pinned, build.workspace.pk, "development", unapproved.digest)


@pytest.mark.parametrize("part", ["agent", "policy", "prompt"])
def test_a_revoked_release_policy_or_prompt_stops_every_call(build, live, people, part):
    found = resolve.live(build.workspace.pk, "development", "steward")
    concerned = live if part == "agent" else next(each for each in versions.parts_of(live) if each.kind == part)
    versions.revoke(concerned, actor=people["carol"], reason="leaks", **build.how)
    refused("version_revoked", resolve.live, build.workspace.pk, "development", "steward")
    refused("version_revoked", resolve.pinned, build.workspace.pk, "development", live.digest)
    assert lock(found) == "version_revoked"


def test_a_revoked_tool_stops_its_own_calls_alone(build, live, people):
    found = resolve.live(build.workspace.pk, "development", "steward")
    tool = next(each for each in versions.parts_of(live) if each.kind == "tool")
    versions.revoke(tool, actor=people["carol"], reason="leaks", **build.how)
    assert lock(found, tool="git_log") == "version_revoked"
    assert lock(found, tool="m") is None


def test_a_revoked_baseline_stops_everything(build, live, people):
    found = resolve.live(build.workspace.pk, "development", "steward")
    baseline = versions.by_digest(build.workspace.pk, found.baseline)
    versions.revoke(baseline, actor=people["carol"], reason="too wide", **build.how)
    assert lock(found) == "version_revoked"


@pytest.mark.parametrize(
    ("scope", "target", "code"),
    [
        ("workspace", "", "stopped"),
        ("agent", "steward", "stopped"),
        ("tool", "git_log", "stopped"),
        ("agent", "other", None),
        ("tool", "other", None),
    ],
)
def test_a_stop_denies_what_it_names_until_it_is_lifted(build, live, people, trail, scope, target, code):
    found = resolve.live(build.workspace.pk, "development", "steward")
    how = {"scope": scope, "target": target, "reason": "It runs wild.", "by": people["olga"]} | build.how
    stop = stops.set(build.workspace, **how)
    assert stops.set(build.workspace, **how).pk == stop.pk
    assert lock(found) == code
    assert (stops.check(build.workspace.pk, agent="steward", tool="git_log") == scope) == (code is not None)
    stops.lift(stop, by=people["carol"], **build.how)
    assert lock(found) is None
    assert trail()[-2:] == ["registry.stop.created", "registry.stop.lifted"]


def test_only_who_may_stop_stops_and_says_why(build, people):
    how = {"scope": "workspace", "target": "", "reason": "x"} | build.how
    for name in ("alice", "bob", "dave"):
        refused("role_missing", stops.set, build.workspace, by=people[name], **how)
    refused("not_found", stops.set, build.workspace, by=people["mallory"], **how)
    refused("reason_missing", stops.set, build.workspace, by=people["olga"], **(how | {"reason": ""}))
    refused("stop_invalid", stops.set, build.workspace, by=people["olga"], **(how | {"target": "x"}))
    refused("stop_invalid", stops.set, build.workspace, by=people["olga"], **(how | {"scope": "tool"}))


def test_a_stop_waits_for_calls_that_are_being_decided_and_no_later_one_passes(build, live, people):
    found = resolve.live(build.workspace.pk, "development", "steward")
    how = {"scope": "workspace", "target": "", "reason": "x", "by": people["olga"]} | build.how
    done = threading.Event()

    def stop():
        stops.set(build.workspace, **how)
        done.set()
        connections.close_all()

    with transaction.atomic(), connection.cursor() as cursor:
        assert resolve.lock_shared(found, agent="steward", tool="git_log", cursor=cursor) is None
        thread = threading.Thread(target=stop)
        thread.start()
        assert not done.wait(0.3)
    thread.join()
    assert lock(found) == "stopped"


def test_a_stop_gets_through_under_a_steady_load_of_decisions(build, live, people):
    found = resolve.live(build.workspace.pk, "development", "steward")
    over = threading.Event()
    after: list[str | None] = []
    stopped = threading.Event()

    def decide():
        while not over.is_set():
            late = stopped.is_set()
            verdict = lock(found)
            if late:
                after.append(verdict)
        connections.close_all()

    threads = [threading.Thread(target=decide) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        stops.set(build.workspace, scope="workspace", target="", reason="x", by=people["olga"], **build.how)
        stopped.set()
        while len(after) < 50:
            time.sleep(0.01)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert set(after) == {"stopped"}


def test_a_live_release_is_one_query_once_it_is_known(build, live, django_assert_num_queries):
    resolve.live(build.workspace.pk, "development", "steward")
    with django_assert_num_queries(1):
        resolve.live(build.workspace.pk, "development", "steward")
    found = resolve.live(build.workspace.pk, "development", "steward")
    with transaction.atomic(), django_assert_num_queries(1), connection.cursor() as cursor:
        resolve.lock_shared(found, agent="steward", tool="git_log", cursor=cursor)


def test_the_cache_is_no_way_around_anything(build, live, people):
    resolve.live(build.workspace.pk, "development", "steward")
    versions.revoke(live, actor=people["carol"], reason="leaks", **build.how)
    refused("version_revoked", resolve.live, build.workspace.pk, "development", "steward")
    resolve.forget()
    refused("version_revoked", resolve.live, build.workspace.pk, "development", "steward")
