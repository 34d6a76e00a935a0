"""The pure rules: what a charter asks for, how a state moves, who may read the trail."""

import importlib
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.views import APIView

from audit.refusal import Refusal
from registry import charters, content, evidence, memberships, permissions, proposals, transitions, versions
from registry.models import Contributor, Lifecycle, Proposal

ROLES = ("reviewer", "security", "operator")


def requirements(rules, kind="tool", risk="low", environment="development"):
    charter = {"quorum": {"default": {"approvals": 1, "roles": ["reviewer"]}, "rules": rules}}
    return charters.requirements(charter, kind=kind, risk=risk, environment=environment)


def test_every_rule_that_matches_holds_and_the_default_only_without_one():
    two = {"approvals": 2, "roles": ["reviewer"]}
    security = {"kind": "tool", "approvals": 1, "roles": ["security"]}
    assert requirements([]) == [charters.Requirement(1, ("reviewer",))]
    assert requirements([two, security]) == [
        charters.Requirement(2, ("reviewer",)),
        charters.Requirement(1, ("security",)),
    ]
    assert requirements([security], kind="model") == [charters.Requirement(1, ("reviewer",))]
    elsewhere = {"environment": "production", "approvals": 3, "roles": ["reviewer"]}
    assert requirements([elsewhere]) == [charters.Requirement(1, ("reviewer",))]
    assert requirements([elsewhere], environment="production")[0].approvals == 3


@pytest.mark.parametrize("risk", charters.RISKS)
def test_a_rule_for_a_risk_holds_for_higher_ones(risk):
    rule = {"risk": "medium", "approvals": 2, "roles": ["reviewer"]}
    assert (requirements([rule], risk=risk)[0].approvals == 2) == (risk != "low")


@given(st.lists(st.sampled_from(ROLES), max_size=6), st.integers(1, 5), st.sets(st.sampled_from(ROLES), min_size=1))
def test_a_quorum_is_met_only_by_enough_people_and_every_role(given_roles, approvals, roles):
    requirement = charters.Requirement(max(approvals, len(roles)), tuple(sorted(roles)))
    count, unmet = charters.shortfall(requirement, given_roles)
    counted = [role for role in given_roles if role in roles]
    assert (count == 0) == (len(counted) >= requirement.approvals and set(counted) == roles)
    assert set(unmet) == roles - set(given_roles)
    # What is said to be missing is enough.
    more = [*unmet, *[sorted(roles)[0]] * (count - len(unmet))]
    assert charters.shortfall(requirement, [*given_roles, *more]) == (0, ())


def test_gates_are_asked_where_they_apply():
    charter = {"gates": [{"evidence": "impact", "max_age_hours": 5, "environment": "production", "kind": "agent"}]}
    assert charters.gates(charter, kind="agent", environment="production") == [charters.Gate("impact", 5)]
    assert charters.gates(charter, kind="agent", environment="staging") == []
    assert charters.gates(charter, kind="tool", environment="production") == []


def test_the_first_charter_is_a_valid_one():
    assert content.check("charter", "charter", dict(charters.FIRST))


def test_the_tables_are_those_of_the_database():
    guards = importlib.import_module("registry.migrations.0003_guards")
    for table, name in ((transitions.PROPOSAL, "proposal"), (transitions.LIFECYCLE, "lifecycle")):
        pairs = {(old, new) for old, states in table.items() for new in states}
        assert pairs == set(guards.MOVES[name])


@pytest.mark.parametrize(("row", "table"), [(Proposal, transitions.PROPOSAL), (Lifecycle, transitions.LIFECYCLE)])
def test_a_state_moves_along_its_table_and_no_other_way(row, table):
    for old in table:
        for new in table:
            subject = row(state=old)
            if new in table[old]:
                transitions.move(subject, new)
                assert subject.state == new
            else:
                with pytest.raises(Refusal) as refused:
                    transitions.move(subject, new)
                assert refused.value.code == "transition_refused"
                assert subject.state == old
    with pytest.raises(TypeError):
        table["open"] = frozenset()


def ask(person=None, principal=None):
    user = person or SimpleNamespace(is_authenticated=principal is not None)
    return SimpleNamespace(user=user, auth=principal, query_params={})


@pytest.mark.parametrize(
    ("name", "purpose", "allowed"),
    [
        ("dave", "read", True),
        ("dave", "export", True),
        ("adam", "export", True),
        ("olga", "read", True),
        ("olga", "export", False),
        ("alice", "read", False),
        ("bob", "read", False),
    ],
)
def test_the_trail_is_read_by_role(people, workspace, name, purpose, allowed):
    trail, request = permissions.MayReadTrail(), ask(people[name])
    assert trail.has_permission(request, APIView())
    assert trail.actor(request) == f"person:{people[name].pk}"
    for reference in (workspace.slug, str(workspace.pk)):
        if allowed:
            assert trail.workspace(request, reference, purpose=purpose) == workspace.pk
        else:
            with pytest.raises(Refusal) as refused:
                trail.workspace(request, reference, purpose=purpose)
            assert refused.value.code == "forbidden"


def test_a_stranger_finds_no_workspace_and_nobody_is_asked_to_sign_in(people, workspace):
    with pytest.raises(Refusal) as refused:
        permissions.MayReadTrail().workspace(ask(people["mallory"]), workspace.slug, purpose="read")
    assert refused.value.code == "not_found"
    assert not permissions.MayReadTrail().has_permission(ask(), APIView())
    with pytest.raises(Refusal) as refused:
        permissions.requester(ask())
    assert refused.value.status == 401


def test_a_credential_writes_only_with_the_scope_and_in_its_own_workspace(people, workspace, build, now):
    def principal(*scopes, place=workspace.pk, owner=people["alice"].pk):
        return SimpleNamespace(scopes=frozenset(scopes), owner=owner, actor="credential:x", workspace=place)

    who = permissions.requester(ask(principal=principal("artifacts:write")), scope="artifacts:write")
    assert (who.person, who.credential, who.workspace) == (people["alice"], "credential:x", workspace.pk)
    for scopes, scope in ((("tools:call",), "artifacts:write"), (("artifacts:write",), None), ((), None)):
        with pytest.raises(Refusal) as refused:
            permissions.requester(ask(principal=principal(*scopes)), scope=scope)
        assert refused.value.code == "forbidden"
    with pytest.raises(Refusal) as refused:
        permissions.requester(ask(principal=principal("artifacts:write", owner=None)), scope="artifacts:write")
    assert refused.value.code == "forbidden"
    elsewhere = ask(principal=principal("artifacts:write", place=people["bob"].pk))
    with pytest.raises(Refusal) as refused:
        permissions.workspace_of(elsewhere, workspace.slug, scope="artifacts:write")
    assert refused.value.code == "not_found"
    implied = ask(principal=principal("artifacts:write"))
    assert permissions.workspace_of(implied, "", scope="artifacts:write") == workspace


def test_who_maps_an_identity_cannot_approve_the_version(build, people):
    from registry import contributors

    member = memberships.add(build.workspace, people["dave"], actor=people["adam"], **build.how)
    version = versions.create(
        build.workspace,
        kind="charter",
        name="charter",
        content=dict(charters.FIRST) | {"description": "Another."},
        actor=people["alice"],
        provenance={"identities": ["ghost@example.org"]},
        **build.how,
    )
    contributors.identify(version, "ghost@example.org", member.person, actor=people["adam"], **build.how)
    proposal = build.propose(version, None)
    with pytest.raises(Refusal) as refused:
        build.approve(proposal, "adam")
    assert refused.value.code == "approver_is_contributor"
    assert Contributor.objects.filter(version=version, how="mapper", person=people["adam"]).exists()


def test_identities_are_mapped_when_their_owner_joins_before_the_proposal(build, people):
    address = people["mallory"].email
    version = versions.create(
        build.workspace,
        kind="prompt",
        name="p",
        content={"template": "x", "variables": {"type": "object"}},
        actor=people["alice"],
        provenance={"identities": [f"Mallory <{address.upper()}>"]},
        **build.how,
    )
    assert Contributor.objects.filter(version=version, person=None).exists()
    memberships.add(build.workspace, people["mallory"], actor=people["adam"], **build.how)
    proposal = build.propose(version)
    assert [each.code for each in proposals.missing(proposal)] == ["approval_missing"]
    assert Contributor.objects.filter(version=version, person=people["mallory"], how="commit").exists()


def test_evidence_is_filed_with_a_record(build, trail):
    version = build.version()
    row = evidence.add(
        version, build.environment(), kind="impact", digest=version.digest, actor="system:worker", **build.how
    )
    assert row.kind == "impact"
    assert trail()[-1] == "registry.evidence.added"
    with pytest.raises(Refusal) as refused:
        evidence.add(version, None, kind="impact", digest="x", actor="system:worker", **build.how)
    assert refused.value.code == "digest_invalid"
