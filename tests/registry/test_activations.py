"""A slot moves only by a valid quorum, a rollback to what was live, or a recorded break-glass."""

from datetime import timedelta

import pytest
from django.db import connection, connections, transaction

from audit.refusal import Refusal
from registry import activations, approvals, memberships, resolve, slots, upkeep, versions
from registry.models import Activation, Bundle, Environment, Pdp, Slot, SlotHistory
from tests.registry.builders import policy, publish


def refused(code, function, *args, **kwargs):
    with pytest.raises(Refusal) as caught:
        function(*args, **kwargs)
    assert caught.value.code == code, caught.value
    return caught.value


def bundle(environment, revision, at):
    row = Bundle(
        workspace_id=environment.workspace_id, environment=environment, revision=revision, content=b"", created_at=at
    )
    row.save(using="bundler", force_insert=True)


def grant(build, name, role):
    member = memberships.add(build.workspace, build.people[name], actor=build.people["adam"], **build.how)
    memberships.grant(member, role, environment=None, actor=build.people["adam"], **build.how)


def test_an_approved_release_goes_live_once_its_bundle_is_out(build, people, trail):
    build.baseline()
    proposal = build.propose(build.release())
    build.approve(proposal, "bob")
    activation = activations.request(proposal, actor=people["olga"], **build.how)
    assert activations.finish(activation, **build.how).state == "requested"
    assert slots.live_version(proposal.environment, proposal.version.artifact_id) is None
    publish(activation, "r1")
    assert activations.finish(activation, **build.how).state == "live"
    assert slots.live_version(proposal.environment, proposal.version.artifact_id) == proposal.version
    assert Environment.objects.get(pk=proposal.environment_id).bundle_revision == "r1"
    assert trail()[-2:] == ["registry.activation.requested", "registry.activation.finished"]
    assert SlotHistory.objects.get(activation=activation).kind == "activate"


def test_without_a_quorum_nothing_is_requested_and_what_was_lost_meanwhile_fails(build, people, trail):
    proposal = build.propose(build.version("policy", "baseline", policy("baseline")))
    refused("quorum_missing", activations.request, proposal, actor=people["olga"], **build.how)
    (row,) = build.approve(proposal, "bob")
    activation = activations.request(proposal, actor=people["olga"], **build.how)
    publish(activation)
    approvals.withdraw(row, actor=people["bob"], **build.how)
    activation = activations.finish(activation, **build.how)
    assert (activation.state, activation.failure) == ("failed", "quorum_missing")
    assert not Slot.objects.filter(environment=proposal.environment).exists()
    assert trail()[-1] == "registry.activation.failed"


def test_only_an_operator_activates_and_only_what_has_a_slot(build, people):
    tool = build.propose(build.version())
    build.approve(tool, "bob")
    refused("not_activatable", activations.request, tool, actor=people["olga"], **build.how)
    proposal = build.propose(build.release())
    build.approve(proposal, "bob")
    for name in ("alice", "bob", "adam"):
        refused("role_missing", activations.request, proposal, actor=people[name], **build.how)
    refused("not_found", activations.request, proposal, actor=people["mallory"], **build.how)


def test_the_slot_waits_for_every_decision_point_that_has_been_heard_of_lately(build, people, now):
    proposal = build.propose(build.version("policy", "baseline", policy("baseline")))
    build.approve(proposal, "bob")
    where = proposal.environment
    bundle(where, "r1", now)
    bundle(where, "r2", now + timedelta(seconds=1))
    bundle(where, "r3", now + timedelta(seconds=2))
    fresh = Pdp.objects.create(kind="embedded", name="a", environment=where, revision="r1", last_seen=now)
    Pdp.objects.create(kind="opa", name="b", environment=where, revision="", last_seen=now - timedelta(seconds=31))
    activation = activations.request(proposal, actor=people["olga"], **build.how)
    publish(activation, "r2")
    assert activations.finish(activation, **build.how).state == "published"
    fresh.revision = "r3"  # newer than asked for: it holds what r2 holds
    fresh.save()
    assert activations.finish(activation, **build.how).state == "live"


def test_a_late_finish_does_not_put_the_environment_back_to_an_older_bundle(build, people, now):
    first = build.propose(build.version("policy", "baseline", policy("baseline")))
    second = build.propose(build.release())
    build.approve(first, "bob")
    build.approve(second, "bob")
    bundle(first.environment, "r1", now)
    bundle(first.environment, "r2", now + timedelta(seconds=1))
    one, two = (activations.request(each, actor=people["olga"], **build.how) for each in (first, second))
    publish(one, "r1")
    publish(two, "r2")
    assert activations.finish(two, **build.how).state == "live"
    assert activations.finish(one, **build.how).state == "live"
    assert Environment.objects.get(pk=first.environment_id).bundle_revision == "r2"


def test_one_activation_of_an_artifact_at_a_time(build, people):
    build.baseline()
    first, second = (build.propose(build.release(budgets={"steps": steps})) for steps in (1, 2))
    build.approve(first, "bob")
    build.approve(second, "bob")
    activation = activations.request(first, actor=people["olga"], **build.how)
    assert activations.request(first, actor=people["olga"], **build.how).pk == activation.pk
    refused("activation_pending", activations.request, second, actor=people["olga"], **build.how)
    build.finish(activation)
    assert build.activate(second).previous == first.version


def test_rollback_restores_only_what_was_live_there_and_is_not_revoked(build, people, trail):
    build.baseline()
    old, new, never = (build.release(budgets={"steps": steps}) for steps in (1, 2, 3))
    build.live(old)
    build.live(new)
    where = build.environment()
    how = {"actor": people["olga"], "reason": "worse"} | build.how
    refused("never_live", activations.roll_back, never, where, **how)
    refused("never_live", activations.roll_back, old, build.environment("staging"), **how)
    refused("reason_missing", activations.roll_back, old, where, **(how | {"reason": ""}))
    assert build.finish(activations.roll_back(old, where, **how)).state == "live"
    assert resolve.live(build.workspace.pk, "development", "steward").digest == old.digest
    versions.revoke(new, actor=people["carol"], reason="leaks", **build.how)
    refused("version_revoked", activations.roll_back, new, where, **how)
    assert "registry.activation.finished" in trail()


def test_rollback_fails_if_the_version_is_revoked_on_the_way(build, people):
    build.baseline()
    old, new = (build.release(budgets={"steps": steps}) for steps in (1, 2))
    build.live(old)
    build.live(new)
    activation = activations.roll_back(old, build.environment(), actor=people["olga"], reason="worse", **build.how)
    publish(activation)
    versions.revoke(old, actor=people["carol"], reason="leaks", **build.how)
    assert activations.finish(activation, **build.how).failure == "version_revoked"


def glass(build, version, minutes=30, actor="olga", where="development"):
    return activations.break_glass(
        version,
        build.environment(where),
        actor=build.people[actor],
        reason="The old one is on fire.",
        minutes=minutes,
        **build.how,
    )


def age(activation, minutes):
    """Let time pass for one break-glass, as the owner of the database."""
    with connections["owner"].cursor() as cursor:
        for table in ("registry_activation WHERE id", "registry_slot WHERE version_id"):
            name, _, column = table.partition(" WHERE ")
            key = activation.pk if column == "id" else activation.version_id
            cursor.execute(
                f"UPDATE {name} SET expires_at = expires_at - make_interval(mins => %s)"
                f" WHERE {column} = %s AND expires_at IS NOT NULL",
                [minutes, key],
            )


def test_break_glass_has_a_permission_a_reason_and_an_hour_at_most(build, people):
    release = build.release()
    refused("role_missing", glass, build, release)
    grant(build, "olga", "break_glass")
    for minutes in (0, 61):
        refused("minutes_invalid", glass, build, release, minutes)
    refused(
        "reason_missing",
        activations.break_glass,
        release,
        build.environment(),
        actor=people["olga"],
        reason="",
        minutes=5,
        **build.how,
    )
    refused("not_activatable", glass, build, build.version())
    # One admin's grant opens no glass where two are needed.
    refused("role_missing", glass, build, release, where="production")


def test_break_glass_goes_live_without_a_quorum_reverts_by_itself_and_waits_for_its_review(build, people, trail):
    build.baseline()
    approved, hasty = (build.release(budgets={"steps": steps}) for steps in (1, 2))
    build.live(approved)
    grant(build, "olga", "break_glass")
    activation = build.finish(glass(build, hasty))
    assert activation.state == "live"
    release = resolve.live(build.workspace.pk, "development", "steward")
    assert release.digest == hasty.digest
    activations.revert_due(now=build.how["now"])
    activation.refresh_from_db()
    assert activation.reverted_at is None
    age(activation, 31)
    # Whether or not anybody comes to revert it, its time is over at once; for sessions that keep it, too.
    refused("break_glass_expired", resolve.live, build.workspace.pk, "development", "steward")
    refused("break_glass_expired", resolve.pinned, build.workspace.pk, "development", hasty.digest)
    with transaction.atomic(), connection.cursor() as cursor:
        assert resolve.lock_shared(release, agent="steward", tool="x", cursor=cursor) == "break_glass_expired"
    upkeep.run(now=build.how["now"])
    assert resolve.live(build.workspace.pk, "development", "steward").digest == approved.digest
    refused("break_glass_expired", resolve.pinned, build.workspace.pk, "development", hasty.digest)
    assert trail()[-1] == "registry.activation.reverted"
    refused(
        "never_live", activations.roll_back, hasty, build.environment(), actor=people["olga"], reason="x", **build.how
    )
    review = {"comment": "Was needed."} | build.how
    grant(build, "olga", "reviewer")
    refused("own_break_glass", activations.review, activation, reviewer=people["olga"], **review)
    refused("role_missing", activations.review, activation, reviewer=people["alice"], **review)
    assert activations.review(activation, reviewer=people["bob"], **review).reviewed_by == people["bob"]
    refused("not_reviewable", activations.review, activation, reviewer=people["carol"], **review)
    assert trail()[-1] == "registry.activation.reviewed"


def test_a_break_glass_that_an_activation_replaced_is_not_put_back(build, people):
    build.baseline()
    first, hasty = (build.release(budgets={"steps": steps}) for steps in (1, 2))
    build.live(first)
    grant(build, "olga", "break_glass")
    activation = build.finish(glass(build, hasty))
    build.live(hasty)  # approved meanwhile
    age(activation, 31)
    activations.revert_due(now=build.how["now"])
    assert resolve.live(build.workspace.pk, "development", "steward").digest == hasty.digest


def test_break_glass_where_nothing_was_live_leaves_nothing_behind(build, people):
    build.baseline()
    grant(build, "olga", "break_glass")
    activation = build.finish(glass(build, build.release()))
    age(activation, 31)
    activations.revert_due(now=build.how["now"])
    refused("no_live_release", resolve.live, build.workspace.pk, "development", "steward")


def test_what_fails_its_checks_is_not_helped_by_break_glass(build, people):
    grant(build, "olga", "break_glass")
    broken = build.release(
        policy_content={"modules": {"policy.rego": "package x"}, "data": {}, "tests": {}, "requires": "portable"}
    )
    refused("check_failed", glass, build, broken)


def test_an_activation_that_nobody_publishes_fails_after_a_while(build, people):
    proposal = build.propose(build.release())
    build.approve(proposal, "bob")
    activation = activations.request(proposal, actor=people["olga"], **build.how)
    activations.fail_stuck(now=build.how["now"])
    activation.refresh_from_db()
    assert activation.state == "requested"
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "UPDATE registry_activation SET requested_at = requested_at - interval '16 minutes' WHERE id = %s",
            [activation.pk],
        )
    activations.fail_stuck(now=build.how["now"])
    activation.refresh_from_db()
    assert (activation.state, activation.failure) == ("failed", "bundle_late")


def test_upkeep_runs_with_the_rights_of_the_worker(build, people, settings):
    build.baseline()
    proposal = build.propose(build.release())
    build.approve(proposal, "bob")
    activation = activations.request(proposal, actor=people["olga"], **build.how)
    publish(activation)
    worker = connections["worker"]
    usual = connections["default"]
    connections["default"] = worker
    worker.alias = "default"
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("placet_worker",)
        done = upkeep.run(now=build.how["now"])
    finally:
        worker.alias = "worker"
        connections["default"] = usual
    assert done["finished"] >= 1
    activation.refresh_from_db()
    assert activation.state == "live"


def test_the_runtime_cannot_rewrite_what_was_live(build):
    build.baseline()
    with pytest.raises(Exception, match=r"permission denied"), transaction.atomic():
        SlotHistory.objects.filter(environment=build.environment()).update(kind="rollback")
    with pytest.raises(Exception, match=r"permission denied"), transaction.atomic():
        Activation.objects.filter(environment=build.environment()).update(kind="rollback")
