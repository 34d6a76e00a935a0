"""Nobody approves what they had a hand in: not through the functions, not in raw SQL as the runtime role."""

import secrets
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction

from audit.refusal import Refusal
from audit.uuid7 import uuid7
from registry import activations, approvals, contributors, memberships, proposals, quorum, versions, workspaces
from registry.models import Approval, Contributor, Grant, Membership, Proposal, SlotHistory
from tests.registry.builders import charter, founded

INSERT = (
    "INSERT INTO registry_approval (id, proposal_id, version_id, digest, environment_id, approver_id, role, verdict, "
    "comment, at, expires_at) VALUES (%s, %s, %s, %s, %s, %s, 'reviewer', 'approve', '', now(), "
    "now() + interval '1 day')"
)


def insert(proposal, version, person, digest=None, environment=...):
    """Write an approval in raw SQL as placet_web, as a compromised web process would."""
    where = proposal.environment_id if environment is ... else environment
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("placet_web",)
        cursor.execute(INSERT, [uuid7(), proposal.pk, version.pk, digest or version.digest, where, person.pk])


def refused(code, function, *args, **kwargs):
    with pytest.raises(Refusal) as caught:
        function(*args, **kwargs)
    assert caught.value.code == code, caught.value
    return caught.value


def test_a_reviewer_approves_and_the_proposal_is_approved(build, trail):
    proposal = build.propose(build.version())
    assert [str(each) for each in approvals.missing(proposal)] == [
        f"{quorum.label(proposal.version)} needs 1 more approval, by reviewer."
    ]
    build.approve(proposal, "bob")
    assert proposal.state == "approved"
    assert approvals.missing(proposal) == []
    assert trail()[1:] == ["registry.proposal.opened", "registry.approval.created", "registry.proposal.approved"]


def test_the_creator_and_the_proposer_cannot_approve_whatever_their_roles(build, people, workspace):
    grant(build, "alice", "reviewer")
    grant(build, "carol", "author")
    grant(build, "carol", "reviewer")
    version = build.version(actor="alice")
    proposal = build.propose(version, proposer="carol")
    for name in ("alice", "carol"):
        error = refused("approver_is_contributor", build.approve, proposal, name)
        assert error.status == 403
        with pytest.raises(IntegrityError, match="approver_is_contributor"):
            insert(proposal, version, people[name])
    assert not Approval.objects.filter(proposal=proposal).exists()
    build.approve(proposal, "bob")
    assert proposal.state == "approved"


def test_a_commit_identity_is_a_contributor_whoever_brought_the_version(build, people, workspace):
    origin = {"commit": "c" * 40, "identities": [f"Bob the Builder <{people['bob'].email.upper()}>"]}
    version = create(build, provenance=origin)
    proposal = build.propose(version)
    refused("approver_is_contributor", build.approve, proposal, "bob")
    with pytest.raises(IntegrityError, match="approver_is_contributor"):
        insert(proposal, version, people["bob"])


def test_an_identity_that_nobody_claims_blocks_until_an_admin_says_who_it_is(build, people, workspace, trail):
    version = create(build, provenance={"identities": ["ghost@example.org"]})
    proposal = build.propose(version)
    assert "ghost@example.org" in str(approvals.missing(proposal)[0])
    refused("contributor_unmapped", build.approve, proposal, "bob")
    with pytest.raises(IntegrityError, match="contributor_unmapped"):
        insert(proposal, version, people["bob"])
    refused("role_missing", identify, build, version, "ghost@example.org", "carol", "bob")
    identify(build, version, "ghost@example.org", "carol", "adam")
    grant(build, "carol", "reviewer")
    refused("approver_is_contributor", build.approve, proposal, "carol")
    build.approve(proposal, "bob")
    assert proposal.state == "approved"
    assert "registry.contributor.identified" in trail()


def test_who_turns_out_to_be_a_contributor_after_approving_no_longer_counts(build, people):
    version = create(build, kind="policy", name="baseline", provenance={"identities": ["ghost@example.org"]})
    identify(build, version, "ghost@example.org", "carol", "adam")
    proposal = build.propose(version)
    build.approve(proposal, "bob")
    identify(build, version, "ghost@example.org", "bob", "adam")
    assert [each.code for each in approvals.missing(proposal)] == ["approval_missing"]
    error = refused("quorum_missing", activations.request, proposal, actor=people["olga"], **build.how)
    assert error.extra["missing"][0]["code"] == "approval_missing"


def test_the_owner_of_a_credential_is_a_contributor_of_what_it_brought(build, people, workspace):
    grant(build, "bob", "author")
    version = create(build, actor="bob", credential="credential:ci")
    proposal = build.propose(version)
    assert Contributor.objects.get(version=version, how="credential_owner").person == people["bob"]
    refused("approver_is_contributor", build.approve, proposal, "bob")


def test_a_release_bars_the_contributors_of_each_part_that_is_not_approved_there_yet(build, people):
    grant(build, "carol", "author")
    grant(build, "carol", "reviewer")
    part = build.version(actor="carol")
    release = build.release([part])
    proposal = build.propose(release)
    refused("approver_is_contributor", build.approve, proposal, "carol")
    for version in (release, part):
        with pytest.raises(IntegrityError, match="approver_is_contributor"):
            insert(proposal, version, people["carol"])
    # Once the part is approved there by others, its contributors may judge the release.
    build.approve(build.propose(part), "bob")
    build.approve(proposal, "carol")
    assert proposal.state == "approved"


def test_the_approval_of_a_part_that_was_taken_back_bars_its_contributors_again(build, people):
    grant(build, "carol", "author")
    grant(build, "carol", "reviewer")
    part = build.version(actor="carol")
    alone = build.propose(part)
    (row,) = build.approve(alone, "bob")
    proposal = build.propose(build.release([part]))
    approvals.withdraw(row, actor=people["bob"], **build.how)
    refused("approver_is_contributor", build.approve, proposal, "carol")
    with pytest.raises(IntegrityError, match="approver_is_contributor"):
        insert(proposal, proposal.version, people["carol"])


def test_a_part_approved_in_another_environment_is_unapproved_here(build, people):
    grant(build, "carol", "author")
    grant(build, "carol", "reviewer")
    part = build.version(actor="carol")
    build.approve(build.propose(part, "staging"), "bob")
    refused("approver_is_contributor", build.approve, build.propose(build.release([part])), "carol")


def test_approving_a_release_approves_each_unapproved_part_one_row_each(build):
    tool, model = build.version(), build.version("model", "m")
    build.approve(build.propose(model), "bob")
    release = build.release([tool, model])
    proposal = build.propose(release)
    rows = build.approve(proposal, "bob")
    assert sorted(row.version.name for row in rows) == ["git_log", "steward", "steward-policy"]
    assert {row.digest for row in rows} == {row.version.digest for row in rows}
    assert proposal.state == "approved"


def test_a_reviewer_approves_only_the_parts_for_which_they_hold_the_role(build, people):
    charter(build, rules=[{"kind": "tool", "approvals": 1, "roles": ["security"]}])
    release = build.release([build.version()])
    proposal = build.propose(release)
    rows = build.approve(proposal, "bob")
    assert sorted(row.version.kind for row in rows) == ["agent", "policy"]
    assert proposal.state == "open"
    assert [str(each) for each in approvals.missing(proposal)] == [
        f"{quorum.label(versions.parts_of(release)[1])} needs 1 more approval, by security."
    ]
    (row,) = build.approve(proposal, "carol")
    assert (row.version.kind, row.role) == ("tool", "security")
    assert proposal.state == "approved"


def test_high_risk_asks_for_more_people_also_of_the_release_that_pins_it(build):
    charter(build, rules=[{"risk": "high", "approvals": 2, "roles": ["reviewer", "security"]}])
    low, high = build.version(name="low"), build.version(name="high", risk="high")
    proposal = build.propose(build.release([low, high]))
    build.approve(proposal, "bob")
    assert sorted(each.version for each in approvals.missing(proposal)) == sorted(
        [proposal.version.digest, high.digest]
    )
    build.approve(proposal, "carol")
    assert proposal.state == "approved"


def test_production_needs_two_people_in_two_roles_who_were_granted_them_by_two_admins(build, people):
    founded(build)
    version = build.version()
    proposal = build.propose(version, "production")
    build.approve(proposal, "bob")
    assert "1 more approval, by security" in str(approvals.missing(proposal)[0])
    refused("already_approved", build.approve, proposal, "bob")
    build.approve(proposal, "carol")
    assert proposal.state == "approved"


def test_a_grant_by_one_admin_counts_for_nothing_where_the_environment_is_protected(build, people):
    # The members of the fixture were granted their roles by adam alone.
    assert memberships.roles_of(people["bob"], build.workspace.pk) == {"reviewer"}
    assert memberships.roles_of(people["bob"], build.workspace.pk, build.environment("production")) == frozenset()
    refused("role_missing", build.propose, build.version(), "production")


def test_a_grant_serves_no_proposal_that_is_older_than_it(build, people):
    founded(build, without="carol")
    proposal = build.propose(build.version(), "production")
    confirm(build, grant(build, "carol", "security"))
    refused("role_missing", build.approve, proposal, "carol", role="security")
    proposals.withdraw(proposal, actor=people["alice"], **build.how)
    later = build.propose(proposal.version, "production")
    build.approve(later, "carol")
    assert [row.role for row in Approval.objects.filter(proposal=later)] == ["security"]


def test_only_a_second_admin_whose_own_grant_is_confirmed_confirms(build, people):
    row = grant(build, "carol", "reviewer")
    refused("second_admin_needed", confirm, build, row, "adam")
    grant(build, "olga", "admin")
    refused("second_admin_needed", confirm, build, row, "olga")
    refused("role_missing", confirm, build, row, "bob")
    founders = [(people["adam"], "admin", None), (people["olga"], "admin", None)]
    other = workspaces.init(
        f"o-{secrets.token_hex(4)}", "O", admin=people["adam"], members=founders, now=build.how["now"]
    )
    member = memberships.add(other, people["bob"], actor=people["adam"], **build.how)
    row = memberships.grant(member, "reviewer", environment=None, actor=people["adam"], **build.how)
    assert confirm(build, row, "olga").confirmed_by == people["olga"]


def test_nobody_grants_or_confirms_a_role_of_their_own(build, people):
    member = Membership.objects.get(workspace=build.workspace, person=people["adam"])
    refused("own_grant", memberships.grant, member, "reviewer", environment=None, actor=people["adam"], **build.how)


def test_the_last_confirmed_admin_cannot_be_removed(build, people):
    member = Membership.objects.get(workspace=build.workspace, person=people["adam"])
    (row,) = member.grants.all()
    grant(build, "olga", "admin")
    refused("last_admin", memberships.revoke, row, actor=people["olga"], **build.how)
    refused("last_admin", memberships.deactivate, member, actor=people["olga"], **build.how)
    assert memberships.roles_of(people["adam"], build.workspace.pk) == {"admin"}


def test_a_membership_that_comes_back_has_to_be_confirmed_again(build, people):
    founded(build)
    member = Membership.objects.get(workspace=build.workspace, person=people["bob"])
    memberships.deactivate(member, actor=people["adam"], **build.how)
    assert memberships.roles_of(people["bob"], build.workspace.pk) == frozenset()
    memberships.add(build.workspace, people["bob"], actor=people["adam"], **build.how)
    assert memberships.roles_of(people["bob"], build.workspace.pk) == {"reviewer"}
    assert memberships.roles_of(people["bob"], build.workspace.pk, build.environment("production")) == frozenset()


@pytest.mark.parametrize("flag", ["is_superuser", "is_staff"])
def test_no_flag_of_a_person_grants_anything(build, people, flag):
    mallory = people["mallory"]
    setattr(mallory, flag, True)
    mallory.save()
    assert memberships.roles_of(mallory, build.workspace.pk) == frozenset()
    proposal = build.propose(build.version())
    refused("not_found", build.approve, proposal, "mallory")
    assert not mallory.has_perm("registry.change_version")


def test_who_lost_the_role_or_the_membership_after_approving_no_longer_counts(build, people):
    proposal = build.propose(build.version())
    build.approve(proposal, "bob")
    (row,) = Grant.objects.filter(membership__workspace=build.workspace, membership__person=people["bob"])
    memberships.revoke(row, actor=people["adam"], **build.how)
    assert [each.code for each in approvals.missing(proposal)] == ["approval_missing"]
    grant(build, "bob", "reviewer")
    assert approvals.missing(proposal) == []
    bob = people["bob"]
    bob.is_active = False
    bob.save()
    assert [each.code for each in approvals.missing(proposal)] == ["approval_missing"]


def test_an_approval_is_bound_to_the_digest_that_was_looked_at(build, people):
    proposal = build.propose(build.version())
    other = build.version(description="Edited meanwhile.")
    error = refused(
        "digest_mismatch",
        approvals.approve,
        proposal,
        approver=people["bob"],
        digest=other.digest,
        role=None,
        comment="",
        **build.how,
    )
    assert error.status == 412
    with pytest.raises(IntegrityError, match="approval_digest"):
        insert(proposal, proposal.version, people["bob"], digest=other.digest)
    with pytest.raises(IntegrityError, match="approval_version"):
        insert(proposal, other, people["bob"])
    with pytest.raises(IntegrityError, match="approval_environment"):
        insert(proposal, proposal.version, people["bob"], environment=build.environment("staging").pk)


def test_an_approval_expires_by_the_clock_of_the_database(build, people):
    proposal = build.propose(build.version("policy", "baseline", _baseline()))
    (row,) = build.approve(proposal, "bob")
    with connections["owner"].cursor() as cursor:
        cursor.execute("ALTER TABLE registry_approval DISABLE TRIGGER kept")
        cursor.execute("UPDATE registry_approval SET expires_at = now() - interval '1 s' WHERE id = %s", [row.pk])
        cursor.execute("ALTER TABLE registry_approval ENABLE ALWAYS TRIGGER kept")
    assert [each.code for each in approvals.missing(proposal)] == ["approval_missing"]
    refused("quorum_missing", activations.request, proposal, actor=people["olga"], **build.how)


def test_a_proposal_expires_by_the_clock_of_the_database(build, people, trail):
    proposal = build.propose(build.version())
    with connections["owner"].cursor() as cursor:
        cursor.execute("UPDATE registry_proposal SET expires_at = now() - interval '1 s' WHERE id = %s", [proposal.pk])
    refused("proposal_expired", build.approve, proposal, "bob")
    assert proposals.expire_due(now=build.how["now"]) >= 1
    proposal.refresh_from_db()
    assert proposal.state == "expired"
    assert trail()[-1] == "registry.proposal.expired"
    with pytest.raises(IntegrityError, match="proposal_not_open"):
        insert(proposal, proposal.version, people["bob"])


def test_proposing_the_same_bytes_again_starts_from_nothing(build, people):
    version = build.version()
    first = build.propose(version)
    build.approve(first, "bob")
    again = build.propose(version)
    assert again.pk != first.pk
    assert [each.code for each in approvals.missing(again)] == ["approval_missing"]


def test_an_open_proposal_is_returned_to_its_proposer_and_refused_to_others(build, people):
    grant(build, "carol", "author")
    version = build.version()
    first = build.propose(version)
    assert build.propose(version).pk == first.pk
    error = refused("proposal_exists", build.propose, version, proposer="carol")
    assert error.extra["proposal"] == str(first.pk)


def test_one_person_counts_once(build, people):
    charter(build, default={"approvals": 2, "roles": ["reviewer"]})
    proposal = build.propose(build.version())
    build.approve(proposal, "bob")
    refused("already_approved", build.approve, proposal, "bob")
    with pytest.raises(IntegrityError, match="approval_unique"):
        insert(proposal, proposal.version, people["bob"])
    grant(build, "carol", "reviewer")
    build.approve(proposal, "carol")
    assert proposal.state == "approved"


def test_an_approval_can_be_taken_back_until_activation_and_not_after(build, people):
    build.baseline()
    proposal = build.propose(build.release())
    (row, *_) = build.approve(proposal, "bob")
    gone = approvals.withdraw(row, actor=people["bob"], **build.how)
    assert len(gone) == 3
    assert approvals.missing(proposal)
    refused("not_yours", approvals.withdraw, row, actor=people["carol"], **build.how)
    refused("approval_withdrawn", approvals.withdraw, row, actor=people["bob"], **build.how)
    (row, *_) = build.approve(proposal, "bob")
    assert build.activate(proposal).state == "live"
    refused("already_activated", approvals.withdraw, row, actor=people["bob"], **build.how)


def test_a_rejection_ends_the_proposal_with_a_reason(build, people, trail):
    proposal = build.propose(build.version())
    how = {"approver": people["bob"], "digest": proposal.version.digest, "role": None} | build.how
    refused("comment_missing", approvals.reject, proposal, comment=" ", **how)
    assert approvals.reject(proposal, comment="Too broad.", **how).verdict == "reject"
    proposal.refresh_from_db()
    assert proposal.state == "rejected"
    refused("proposal_not_open", build.approve, proposal, "carol")
    assert trail()[-2:] == ["registry.approval.created", "registry.proposal.rejected"]


def test_a_failed_check_blocks_approval_and_says_so(build, people):
    from registry.models import Check

    version = build.version()
    proposal = build.propose(version)
    Check.objects.create(version=version, name="tests", passed=False, output="1 failed", at=build.how["now"])
    error = refused("check_failed", build.approve, proposal, "bob")
    assert "tests" in error.detail
    Check.objects.create(
        version=version, name="tests", passed=True, output="", at=build.how["now"] + timedelta(seconds=1)
    )
    build.approve(proposal, "bob")


def test_a_policy_that_fails_admission_is_kept_shown_and_never_approved(build):
    modules = {"policy.rego": "package placet.router\nallow := true\n"}
    shadow = {"modules": modules, "data": {}, "tests": {}, "requires": "portable"}
    version = build.version("policy", "shadow", shadow)
    failing = versions.failing_checks(version)
    assert failing
    proposal = build.propose(version)
    refused("check_failed", build.approve, proposal, "bob")


def test_a_gate_asks_for_fresh_evidence(build, people):
    from registry.models import Evidence

    charter(build, gates=[{"evidence": "impact", "max_age_hours": 1, "environment": "development", "kind": "policy"}])
    version = build.version("policy", "baseline", _baseline())
    proposal = build.propose(version)
    build.approve(proposal, "bob")
    assert proposal.state == "open"
    assert [each.code for each in approvals.missing(proposal)] == ["evidence_missing"]
    here = {"version": version, "environment": proposal.environment, "kind": "impact", "digest": version.digest}
    Evidence.objects.create(**here, at=build.how["now"] - timedelta(hours=2))
    assert approvals.missing(proposal)
    refused("quorum_missing", activations.request, proposal, actor=people["olga"], **build.how)
    Evidence.objects.create(**here, at=build.how["now"])
    assert approvals.missing(proposal) == []
    assert build.activate(proposal).state == "live"


def test_a_charter_needs_the_quorum_of_the_charter_in_force(build, people):
    founded(build)
    strict = {
        "quorum": {"default": {"approvals": 2, "roles": ["reviewer", "security"]}},
        "proposal_ttl_hours": 1,
        "approval_ttl_hours": 1,
    }
    version = build.version("charter", "charter", strict)
    refused("environment_unwanted", build.propose, version, "development")
    proposal = build.propose(version, None)
    refused("role_missing", build.approve, proposal, "bob")
    build.approve(proposal, "adam")
    assert activations.request(proposal, actor=people["adam"], proof=build.proof, **build.how).state == "live"
    assert workspaces.charter_in_force(build.workspace.pk)[0] == version.digest
    # From now on the new one holds, for charters too.
    next_one = build.propose(build.version("charter", "charter", strict | {"proposal_ttl_hours": 2}), None)
    refused("role_missing", build.approve, next_one, "adam")
    build.approve(next_one, "bob", "carol")
    assert next_one.state == "approved"


def test_a_proposal_that_was_approved_is_counted_again_under_a_stricter_charter(build, people):
    proposal = build.propose(build.version("policy", "baseline", _baseline()))
    build.approve(proposal, "bob")
    charter(build, default={"approvals": 2, "roles": ["reviewer", "security"]})
    refused("quorum_missing", activations.request, proposal, actor=people["olga"], **build.how)


def test_a_stranger_learns_nothing_about_a_proposal(build, people):
    proposal = build.propose(build.version())
    error = refused("not_found", build.approve, proposal, "mallory")
    assert error.status == 404


def test_a_proposal_moves_only_along_its_table_even_in_raw_sql_as_owner(build, people):
    proposal = build.propose(build.version())
    proposals.withdraw(proposal, actor=people["alice"], **build.how)
    for alias in ("default", "owner"):
        with (
            pytest.raises(DatabaseError, match="cannot go from withdrawn to approved"),
            transaction.atomic(using=alias),
        ):
            Proposal.objects.using(alias).filter(pk=proposal.pk).update(state="approved")


def test_an_approval_row_never_changes_but_for_its_withdrawal(build, people):
    proposal = build.propose(build.version())
    (row,) = build.approve(proposal, "bob")
    for alias, change in (
        ("default", "approver_id = approver_id"),
        ("owner", "verdict = 'reject'"),
        ("owner", "expires_at = now() + interval '9 days'"),
    ):
        with (
            pytest.raises(DatabaseError, match=r"permission denied|only be withdrawn"),
            transaction.atomic(using=alias),
            connections[alias].cursor() as cursor,
        ):
            cursor.execute(f"UPDATE registry_approval SET {change} WHERE id = %s", [row.pk])
    approvals.withdraw(row, actor=people["bob"], **build.how)
    with (
        pytest.raises(DatabaseError, match="only be withdrawn"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE registry_approval SET withdrawn_at = NULL WHERE id = %s", [row.pk])


def test_the_orm_cannot_write_an_approval_of_a_contributor(build, people):
    proposal = build.propose(build.version())
    at = build.how["now"]
    fields = {"digest": proposal.version.digest, "environment": proposal.environment, "role": "reviewer"}
    with pytest.raises(IntegrityError, match="approver_is_contributor"), transaction.atomic():
        Approval.objects.create(
            proposal=proposal,
            version=proposal.version,
            approver=people["alice"],
            verdict="approve",
            at=at,
            expires_at=at + timedelta(days=1),
            **fields,
        )


def test_the_guard_cannot_be_switched_off_or_shadowed_by_the_runtime_role(build, people):
    proposal = build.propose(build.version())
    for statement in (
        "ALTER TABLE registry_approval DISABLE TRIGGER guard",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION registry_approval_guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "DROP TRIGGER guard ON registry_approval",
        "CREATE TABLE public.shadow (x int)",
        "CREATE TEMP TABLE registry_contributor (version_id uuid, person_id uuid, identity text)",
    ):
        with (
            pytest.raises(DatabaseError, match=r"permission denied|must be owner"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    with pytest.raises(IntegrityError, match="approver_is_contributor"):
        insert(proposal, proposal.version, people["alice"])


def test_what_is_founded_is_recorded_as_unreviewed(build, workspace):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT convert_from(body, 'UTF8')::jsonb FROM audit_record WHERE workspace = %s ORDER BY id LIMIT 1",
            [workspace.pk],
        )
        import json

        body = cursor.fetchone()[0]
        body = json.loads(body) if isinstance(body, str) else body
    assert body["event"] == "registry.workspace.created"
    assert body["data"]["reviewed"] is False
    assert SlotHistory.objects.get(artifact__workspace=workspace).kind == "founding"


def _baseline():
    from registry import policies

    return policies.shipped("baseline")


def create(build, actor="alice", kind="tool", name="git_log", **more):
    from tests.registry.builders import TOOL

    content = TOOL if kind == "tool" else _baseline()
    return versions.create(
        build.workspace, kind=kind, name=name, content=content, actor=build.people[actor], **build.how, **more
    )


def identify(build, version, identity, person, actor):
    return contributors.identify(version, identity, build.people[person], actor=build.people[actor], **build.how)


def grant(build, name, role, environment=None):
    member = memberships.add(build.workspace, build.people[name], actor=build.people["adam"], **build.how)
    return memberships.grant(member, role, environment=environment, actor=build.people["adam"], **build.how)


def confirm(build, row, actor="olga"):
    return memberships.confirm(row, actor=build.people[actor], proof=build.proof, **build.how)
