"""What two people do at the same moment ends as if one had been first. Real PostgreSQL, real threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from audit.refusal import Refusal
from registry import activations, approvals, conditions, contributors, memberships, proposals, versions
from registry.models import Activation, Approval, Membership, Proposal, Slot, SlotHistory
from tests.registry.builders import charter, policy, publish


def together(*functions):
    """Run the functions at the same moment; return what each returned or refused with."""
    barrier = threading.Barrier(len(functions))

    def run(function):
        try:
            barrier.wait(10)
            return function()
        except Refusal as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result() for future in [pool.submit(run, function) for function in functions]]


def give(build, proposal, name):
    return lambda: approvals.approve(
        proposal,
        approver=build.people[name],
        digest=proposal.version.digest,
        role=None,
        comment="",
        **build.how,
    )


def grant(build, name, role):
    member = memberships.add(build.workspace, build.people[name], actor=build.people["adam"], **build.how)
    memberships.grant(member, role, environment=None, actor=build.people["adam"], **build.how)


def test_two_people_who_approve_at_once_both_count_and_the_proposal_is_approved_once(build, trail):
    version = build.version("policy", "baseline", policy("baseline"))
    grant(build, "carol", "reviewer")
    for _ in range(4):
        proposal = build.propose(version)
        before = len(trail())
        results = together(give(build, proposal, "bob"), give(build, proposal, "carol"))
        assert all(isinstance(result, list) for result in results), results
        assert Approval.objects.filter(proposal=proposal).count() == 2
        assert Proposal.objects.get(pk=proposal.pk).state == "approved"
        assert trail()[before:].count("registry.proposal.approved") == 1


def test_one_person_in_two_tabs_approves_once(build):
    version = build.version()
    for _ in range(4):
        proposal = build.propose(version)
        results = together(*[give(build, proposal, "bob")] * 3)
        assert sorted(map(str, map(type, results))).count("<class 'list'>") == 1
        assert results.count("already_approved") == 2
        assert Approval.objects.filter(proposal=proposal).count() == 1


def test_approving_and_withdrawing_the_proposal_at_once_leaves_one_end(build, people):
    version = build.version()
    for _ in range(4):
        proposal = build.propose(version)
        together(
            give(build, proposal, "bob"),
            lambda proposal=proposal: proposals.withdraw(proposal, actor=people["alice"], **build.how),
        )
        state = Proposal.objects.get(pk=proposal.pk).state
        approved = Approval.objects.filter(proposal=proposal).exists()
        assert (state, approved) in {("approved", True), ("withdrawn", False)}


def test_taking_an_approval_back_during_activation_never_leaves_a_version_live_without_its_quorum(build, people):
    where = build.environment()
    for step in range(8):
        version = build.version("policy", "baseline", policy("baseline") | {"description": f"step {step}"})
        proposal = build.propose(version)
        (row,) = build.approve(proposal, "bob")
        activation = activations.request(proposal, actor=people["olga"], **build.how)
        publish(activation)
        together(
            lambda activation=activation: activations.finish(activation, **build.how),
            lambda row=row: approvals.withdraw(row, actor=people["bob"], **build.how),
        )
        activation.refresh_from_db()
        row.refresh_from_db()
        live = Slot.objects.filter(environment=where, version=version).exists()
        assert live == (activation.state == "live") == (row.withdrawn_at is None)
        assert activation.state in ("live", "failed")


def test_a_contributor_who_is_found_out_during_activation_is_counted_or_not_but_never_half(build, people):
    for step in range(4):
        content = policy("baseline") | {"description": f"step {step}"}
        version = versions.create(
            build.workspace,
            kind="policy",
            name="baseline",
            content=content,
            actor=people["alice"],
            provenance={"identities": ["ghost@example.org"]},
            **build.how,
        )
        contributors.identify(version, "ghost@example.org", people["dave"], actor=people["adam"], **build.how)
        proposal = build.propose(version)
        build.approve(proposal, "bob")
        activation = activations.request(proposal, actor=people["olga"], **build.how)
        publish(activation)
        together(
            lambda activation=activation: activations.finish(activation, **build.how),
            lambda version=version: contributors.identify(
                version, "ghost@example.org", people["bob"], actor=people["adam"], **build.how
            ),
        )
        activation.refresh_from_db()
        live = Slot.objects.filter(version=version).exists()
        assert live == (activation.state == "live")
        assert activation.state in ("live", "failed")


def test_two_activations_of_one_artifact_cannot_be_under_way_at_once(build, people):
    build.baseline()
    pair = [build.propose(build.release(budgets={"steps": steps})) for steps in (1, 2)]
    for proposal in pair:
        build.approve(proposal, "bob")
    results = together(
        *[
            lambda proposal=proposal: activations.request(proposal, actor=people["olga"], **build.how)
            for proposal in pair
        ]
    )
    assert results.count("activation_pending") == 1
    assert Activation.objects.filter(version__name="steward", state="requested").count() >= 1
    pending = Activation.objects.filter(artifact=pair[0].version.artifact, state="requested")
    assert pending.count() == 1


def test_finishing_twice_at_once_moves_the_slot_once(build, people):
    build.baseline()
    proposal = build.propose(build.release())
    build.approve(proposal, "bob")
    activation = activations.request(proposal, actor=people["olga"], **build.how)
    publish(activation)
    results = together(*[lambda: activations.finish(activation, **build.how)] * 3)
    assert {result.state for result in results} == {"live"}
    assert SlotHistory.objects.filter(activation=activation).count() == 1


def test_a_rollback_and_a_revocation_at_once_never_leave_the_revoked_version_usable(build, people):
    from registry import resolve

    build.baseline()
    old, new = (build.release(budgets={"steps": steps}) for steps in (1, 2))
    build.live(old)
    build.live(new)
    activation = activations.roll_back(old, build.environment(), actor=people["olga"], reason="x", **build.how)
    publish(activation)
    together(
        lambda: activations.finish(activation, **build.how),
        lambda: versions.revoke(old, actor=people["carol"], reason="leak", **build.how),
    )
    try:
        assert resolve.live(build.workspace.pk, "development", "steward").digest == new.digest
    except Refusal as refusal:
        assert refusal.code == "version_revoked"


def test_two_admins_who_remove_each_other_at_once_leave_one(build, people):
    import secrets

    from registry import workspaces

    for _ in range(4):
        place = workspaces.init(
            f"r-{secrets.token_hex(4)}",
            "R",
            admin=people["adam"],
            members=[(people["olga"], "admin", None)],
            now=build.how["now"],
        )
        rows = {name: Membership.objects.get(workspace=place, person=people[name]) for name in ("adam", "olga")}
        together(
            lambda rows=rows: memberships.deactivate(rows["olga"], actor=people["adam"], **build.how),
            lambda rows=rows: memberships.deactivate(rows["adam"], actor=people["olga"], **build.how),
        )
        assert Membership.objects.filter(workspace=place, active=True).count() == 1


@pytest.mark.parametrize("what", ["the approver leaves", "the role is taken", "the charter asks for more"])
def test_what_changes_while_an_activation_waits_for_the_gate_is_counted(build, people, monkeypatch, what):
    version = build.version("policy", "baseline", policy("baseline"))
    activation = build.requested(version)
    publish(activation)
    member = Membership.objects.get(workspace=build.workspace, person=people["bob"])
    acts = {
        "the approver leaves": lambda: memberships.deactivate(member, actor=people["adam"], **build.how),
        "the role is taken": lambda: memberships.revoke(member.grants.get(), actor=people["adam"], **build.how),
        "the charter asks for more": lambda: charter(build, default={"approvals": 2, "roles": ["reviewer"]}),
    }
    served = conditions.served

    def once_counted(waiting):
        """Let somebody else commit between the first count of the quorum and the move of the slot."""
        if waiting.pk == activation.pk:
            [done] = together(acts[what])
            assert not isinstance(done, str), done
        return served(waiting)

    monkeypatch.setattr(conditions, "served", once_counted)
    ended = activations.finish(activation, **build.how)
    assert (ended.state, ended.failure) == ("failed", "quorum_missing")
    assert not Slot.objects.filter(version=version).exists()


def test_what_a_rejection_takes_back_is_on_record(build, people, trail):
    version = build.version("policy", "baseline", policy("baseline"))
    proposal = build.propose(version)
    charter(build, default={"approvals": 2, "roles": ["reviewer"]})
    build.approve(proposal, "bob")
    digest = proposal.version.digest
    approvals.reject(proposal, approver=people["bob"], digest=digest, role=None, comment="No.", **build.how)
    assert trail()[-3:] == [
        "registry.approval.withdrawn",
        "registry.approval.created",
        "registry.proposal.rejected",
    ]
