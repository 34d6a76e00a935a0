"""The registry over REST: who may do what, what it answers, and that every change leaves a record."""

import json
import secrets

import pytest
from django.urls import get_resolver

from registry import memberships, permissions, stops, versions, workspaces
from registry.models import Activation, Approval, Grant, Membership, Person, Proposal, Version
from tests.registry.builders import TOOL, policy, publish

API = "/api/v1"


@pytest.fixture
def rest(client_for, people):
    """Return a function: name -> client of that person."""
    return lambda name=None: client_for(people[name] if name else None)


def post(client, path, **body):
    return client.post(f"{API}{path}", body)


def problem(response, status, code):
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document = response.json()
    assert document["code"] == code, document
    assert document["correlation_id"]
    return document


def approve(client, proposal, digest=None, **body):
    return client.post(
        f"{API}/proposals/{proposal}/approvals/", body, headers={"If-Match": f'"{digest}"'} if digest else {}
    )


def test_from_a_version_to_a_live_release_over_rest(rest, build, workspace, trail):
    build.baseline()
    alice, bob, olga = rest("alice"), rest("bob"), rest("olga")
    before = len(trail())
    made = post(alice, "/versions/", workspace=workspace.slug, kind="tool", name="git_log", content=TOOL)
    assert made.status_code == 201
    assert made["ETag"] == f'"{made.json()["digest"]}"'
    assert (
        post(alice, "/versions/", workspace=workspace.slug, kind="tool", name="git_log", content=TOOL).status_code
        == 200
    )
    rules = post(alice, "/versions/", workspace=workspace.slug, kind="policy", name="p", content=policy()).json()
    pins = [{"kind": each["kind"], "name": each["name"], "digest": each["digest"]} for each in (made.json(), rules)]
    release = post(
        alice,
        "/versions/",
        workspace=workspace.slug,
        kind="agent",
        name="steward",
        content={"pins": pins, "budgets": {"steps": 3}},
    ).json()
    opened = post(alice, "/proposals/", version=release["id"], environment="development", reason="First.")
    assert opened.status_code == 201
    proposal = opened.json()
    assert len(proposal["missing"]) == 3
    assert post(alice, "/proposals/", version=release["id"], environment="development").status_code == 200
    rows = approve(bob, proposal["id"], release["digest"], comment="Good.")
    assert rows.status_code == 201
    assert len(rows.json()) == 3
    shown = bob.get(f"{API}/proposals/{proposal['id']}/").json()
    assert (shown["state"], shown["missing"]) == ("approved", [])
    activation = post(olga, "/activations/", proposal=proposal["id"], reason="Go.")
    assert activation.status_code == 201
    assert post(olga, "/activations/", proposal=proposal["id"]).status_code == 200
    build.finish(Activation.objects.get(pk=activation.json()["id"]))
    slots = olga.get(f"{API}/slots/?workspace={workspace.slug}&environment=development").json()["results"]
    assert release["digest"] in {slot["digest"] for slot in slots}
    assert trail()[before:] == [
        "registry.version.created",
        "registry.version.created",
        "registry.version.created",
        "registry.proposal.opened",
        *["registry.approval.created"] * 3,
        "registry.proposal.approved",
        "registry.activation.requested",
        "registry.activation.finished",
    ]


def test_a_contributor_is_refused_over_rest(rest, build):
    proposal = build.propose(build.version())
    member = Membership.objects.get(workspace=build.workspace, person=build.people["alice"])
    memberships.grant(member, "reviewer", environment=None, actor=build.people["adam"], **build.how)
    problem(approve(rest("alice"), proposal.pk, proposal.version.digest), 403, "approver_is_contributor")
    assert not Approval.objects.filter(proposal=proposal).exists()
    assert approve(rest("bob"), proposal.pk, proposal.version.digest).status_code == 201


def test_an_approval_says_what_was_looked_at(rest, build):
    proposal = build.propose(build.version())
    bob = rest("bob")
    problem(approve(bob, proposal.pk), 428, "precondition_missing")
    problem(approve(bob, proposal.pk, "*"), 428, "precondition_missing")
    stale = problem(approve(bob, proposal.pk, "sha256:" + "0" * 64), 412, "digest_mismatch")
    assert stale["expected"] == proposal.version.digest
    problem(post(bob, f"/proposals/{proposal.pk}/approvals/", digest="sha256:x"), 412, "digest_mismatch")
    tag = bob.get(f"{API}/proposals/{proposal.pk}/")["ETag"]
    assert approve(bob, proposal.pk, tag.strip('"')).status_code == 201


def test_a_rejection_and_its_reason_over_rest(rest, build):
    proposal = build.propose(build.version())
    problem(approve(rest("bob"), proposal.pk, proposal.version.digest, verdict="reject"), 400, "comment_missing")
    answer = approve(rest("bob"), proposal.pk, proposal.version.digest, verdict="reject", comment="Too broad.")
    assert answer.json()[0]["verdict"] == "reject"
    problem(approve(rest("bob"), proposal.pk, proposal.version.digest), 409, "proposal_not_open")


def test_an_approval_is_withdrawn_over_rest(rest, build):
    proposal = build.propose(build.version())
    (row,) = approve(rest("bob"), proposal.pk, proposal.version.digest).json()
    problem(post(rest("carol"), f"/approvals/{row['id']}/withdrawal/"), 403, "not_yours")
    assert post(rest("bob"), f"/approvals/{row['id']}/withdrawal/").json()[0]["withdrawn_at"]
    problem(post(rest("bob"), f"/approvals/{row['id']}/withdrawal/"), 409, "approval_withdrawn")


def test_bad_content_is_answered_with_field_and_remedy(rest, workspace):
    body = {"workspace": workspace.slug, "kind": "tool", "name": "x", "content": {**TOOL, "effect": "magic"}}
    document = problem(post(rest("alice"), "/versions/", **body), 400, "content_invalid")
    assert document["field"] == "/content/effect"
    assert document["errors"][0]["field"] == "/content/effect"
    problem(post(rest("alice"), "/versions/", workspace=workspace.slug), 400, "invalid")
    body["provenance"] = ["x"]
    problem(post(rest("alice"), "/versions/", **(body | {"content": TOOL})), 400, "provenance_invalid")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"workspace": "a", "workspace": "b"}', "json_duplicate_key"),
        (b'{"content": NaN}', "json_number"),
        (b'{"content": "\xff"}', "json_not_utf8"),
        (b'{"content": "\\ud800"}', "json_surrogate"),
        (b"[" * 100 + b"]" * 100, "json_too_deep"),
        (b"[]", "invalid"),
    ],
)
def test_malformed_bodies_are_refused_by_name(rest, workspace, raw, code):
    answer = rest("alice").generic("POST", f"{API}/versions/", raw, content_type="application/json")
    problem(answer, 400, code)
    assert not Version.objects.filter(workspace=workspace, kind="tool").exists()


def test_members_and_grants_over_rest(rest, workspace, people, trail):
    adam = rest("adam")
    made = post(adam, "/memberships/", workspace=workspace.slug, username=people["mallory"].username)
    assert made.status_code == 201
    again = post(adam, "/memberships/", workspace=workspace.slug, username=people["mallory"].username)
    assert again.status_code == 200
    problem(post(adam, "/memberships/", workspace=workspace.slug, username="nobody"), 400, "person_unknown")
    granted = post(adam, "/grants/", membership=made.json()["id"], role="reviewer")
    assert granted.status_code == 201
    assert post(adam, "/grants/", membership=made.json()["id"], role="reviewer").status_code == 200
    problem(post(adam, "/grants/", membership=made.json()["id"], role="king"), 400, "role_unknown")
    where = {"role": "security", "environment": "production"}
    assert post(adam, "/grants/", membership=made.json()["id"], **where).status_code in (201, 403)
    problem(post(adam, f"/grants/{granted.json()['id']}/confirmation/"), 403, "second_admin_needed")
    assert adam.delete(f"{API}/grants/{granted.json()['id']}/").status_code == 204
    assert adam.delete(f"{API}/memberships/{made.json()['id']}/").status_code == 204
    assert trail()[:2] == ["registry.membership.created", "registry.grant.created"]
    assert trail()[-2:] == ["registry.grant.revoked", "registry.membership.deactivated"]


def test_environments_are_added_and_protected_for_good(rest, workspace, trail):
    adam = rest("adam")
    made = post(adam, "/environments/", workspace=workspace.slug, name="canary")
    assert (made.status_code, made.json()["protected"]) == (201, False)
    assert post(adam, "/environments/", workspace=workspace.slug, name="canary").status_code == 200
    problem(post(adam, "/environments/", workspace=workspace.slug, name="Not A Slug"), 400, "name_invalid")
    problem(post(rest("alice"), f"/environments/{made.json()['id']}/protection/"), 403, "forbidden")
    assert post(adam, f"/environments/{made.json()['id']}/protection/").json()["protected"] is True
    assert trail() == ["registry.environment.created", "registry.environment.protected"]


def test_stops_over_rest(rest, workspace, trail):
    olga = rest("olga")
    body = {"workspace": workspace.slug, "scope": "agent", "target": "steward", "reason": "It runs wild."}
    made = post(olga, "/stops/", **body)
    assert made.status_code == 201
    assert post(olga, "/stops/", **body).status_code == 200
    problem(post(rest("alice"), "/stops/", **body), 403, "role_missing")
    assert stops.check(workspace.pk, agent="steward") == "agent"
    assert olga.delete(f"{API}/stops/{made.json()['id']}/").status_code == 204
    assert stops.check(workspace.pk, agent="steward") is None
    assert trail() == ["registry.stop.created", "registry.stop.lifted"]


def test_rollback_and_break_glass_over_rest(rest, build):
    build.baseline()
    old, new = (build.release(budgets={"steps": steps}) for steps in (1, 2))
    build.live(old)
    build.live(new)
    olga = rest("olga")
    where = {"environment": "development", "reason": "Worse."}
    problem(post(olga, "/activations/", kind="rollback", **where), 400, "version_missing")
    answer = post(olga, "/activations/", kind="rollback", version=str(old.pk), **where)
    assert (answer.status_code, answer.json()["kind"]) == (201, "rollback")
    problem(post(olga, "/activations/", kind="break_glass", version=str(old.pk), **where), 403, "role_missing")
    problem(
        post(olga, "/activations/", kind="break_glass", version=str(old.pk), reason="x"), 400, "environment_missing"
    )
    row = Activation.objects.get(pk=answer.json()["id"])
    publish(row)
    problem(post(rest("bob"), f"/activations/{row.pk}/review/", comment="x"), 409, "not_reviewable")


def test_a_version_ends_over_rest(rest, build, trail):
    version = build.version()
    problem(post(rest("alice"), f"/versions/{version.pk}/revocation/", reason="x"), 403, "role_missing")
    problem(post(rest("carol"), f"/versions/{version.pk}/revocation/"), 400, "invalid")
    assert post(rest("alice"), f"/versions/{version.pk}/deprecation/", reason="old").json()["state"] == "deprecated"
    assert post(rest("olga"), f"/versions/{version.pk}/retirement/", reason="old").json()["state"] == "retired"
    assert post(rest("carol"), f"/versions/{version.pk}/revocation/", reason="leak").json()["state"] == "revoked"
    problem(post(rest("olga"), f"/versions/{version.pk}/retirement/", reason="x"), 409, "transition_refused")
    assert trail()[1:] == [f"registry.version.{state}" for state in ("deprecated", "retired", "revoked")]


def test_an_unknown_identity_is_mapped_over_rest(rest, build, people):
    version = versions.create(
        build.workspace,
        kind="tool",
        name="x",
        content=TOOL,
        actor=people["alice"],
        provenance={"identities": ["ghost@example.org"]},
        **build.how,
    )
    body = {"identity": "ghost@example.org", "username": people["carol"].username}
    problem(post(rest("bob"), f"/versions/{version.pk}/contributors/", **body), 403, "role_missing")
    assert post(rest("adam"), f"/versions/{version.pk}/contributors/", **body).status_code == 201
    listed = rest("bob").get(f"{API}/versions/{version.pk}/contributors/").json()["results"]
    assert str(people["carol"].pk) in {row["person"] for row in listed}
    assert rest("bob").get(f"{API}/versions/{version.pk}/checks/").json()["results"]


def test_lists_are_paged_newest_first_and_filtered(rest, build, workspace):
    made = [build.version(description=f"Number {number}.") for number in range(5)]
    bob = rest("bob")
    page = bob.get(f"{API}/versions/?workspace={workspace.slug}&kind=tool&page_size=2").json()
    seen = [row["id"] for row in page["results"]]
    while page["next"]:
        page = bob.get(page["next"]).json()
        seen += [row["id"] for row in page["results"]]
    assert seen == [str(version.pk) for version in reversed(made)]
    found = bob.get(f"{API}/versions/?digest={made[2].digest}").json()["results"]
    assert [row["number"] for row in found] == [3]
    problem(bob.get(f"{API}/evidence/?version=x"), 400, "id_invalid")
    assert bob.get(f"{API}/evidence/?version={made[0].pk}").json()["results"] == []


# What a stranger may never see, address by address: the permission matrix of the registry.
READS = (
    *("workspaces", "memberships", "grants", "environments", "artifacts", "versions"),
    *("proposals", "slots", "activations", "stops", "evidence", "manifests"),
)


@pytest.fixture
def rows(build, people):
    """One row behind each address that takes an id."""
    build.baseline()
    version = build.release()
    proposal = build.propose(version)
    build.approve(proposal, "bob")
    activation = build.activate(proposal)
    stop = stops.set(build.workspace, scope="tool", target="x", reason="x", by=people["olga"], **build.how)
    member = Membership.objects.get(workspace=build.workspace, person=people["bob"])
    return {
        "workspaces": build.workspace.pk,
        "memberships": member.pk,
        "grants": Grant.objects.get(membership=member).pk,
        "environments": build.environment().pk,
        "artifacts": version.artifact_id,
        "versions": version.pk,
        "proposals": proposal.pk,
        "approvals": Approval.objects.filter(proposal=proposal)[0].pk,
        "slots": version.slots.get().pk,
        "activations": activation.pk,
        "stops": stop.pk,
    }


def test_the_matrix_knows_every_address_of_the_registry():
    names = {
        pattern.pattern.describe().split("'")[1].split("/")[0]
        for included in get_resolver().url_patterns
        for pattern in getattr(included, "url_patterns", [])
        if str(getattr(included, "urlconf_name", "")).find("registry.urls") >= 0
    }
    names -= {"me", "access-tokens", "device-logins", "plans"}  # of a person, or of nobody yet: tests/cli
    # Those with tests of their own.
    assert names == {*READS, "approvals", "comments", "signers", "pdps", "pdp-credentials", "factor-resets"}


def test_members_read_and_strangers_learn_nothing(rest, rows, workspace, build, people, now):
    other = workspaces.init(f"o-{secrets.token_hex(4)}", "Other", admin=people["mallory"], now=now)
    stranger, nobody = rest("mallory"), rest()
    for name in READS:
        assert rest("dave").get(f"{API}/{name}/?workspace={workspace.slug}").status_code == 200
        problem(stranger.get(f"{API}/{name}/?workspace={workspace.slug}"), 404, "not_found")
        problem(nobody.get(f"{API}/{name}/"), 401, "not_authenticated")
        theirs = stranger.get(f"{API}/{name}/").json()["results"]
        assert all(row.get("workspace", other.slug) == other.slug for row in theirs)
        assert str(rows.get(name)) not in json.dumps(theirs)
    for name, pk in rows.items():
        if name == "approvals":
            continue
        assert rest("dave").get(f"{API}/{name}/{pk}/").status_code == 200
        problem(stranger.get(f"{API}/{name}/{pk}/"), 404, "not_found")
        problem(nobody.get(f"{API}/{name}/{pk}/"), 401, "not_authenticated")
        problem(stranger.get(f"{API}/{name}/{other.pk}/"), 404, "not_found") if name != "workspaces" else None


def changes(rows, workspace, people):
    """Return every changing request, with the people whom no role keeps from it (the function may still refuse)."""
    slug = workspace.slug
    tool = {"workspace": slug, "kind": "tool", "name": "y", "content": TOOL}
    return [
        ("post", "/versions/", tool, {"alice"}),
        ("post", f"/versions/{rows['versions']}/checks/", {}, {"alice"}),
        ("post", f"/versions/{rows['versions']}/contributors/", {"identity": "x", "username": "y"}, {"adam"}),
        ("post", f"/versions/{rows['versions']}/deprecation/", {"reason": "x"}, {"alice", "olga"}),
        ("post", f"/versions/{rows['versions']}/retirement/", {"reason": "x"}, {"olga"}),
        ("post", f"/versions/{rows['versions']}/revocation/", {"reason": "x"}, {"carol", "adam"}),
        ("post", "/proposals/", {"version": str(rows["versions"]), "environment": "staging"}, {"alice"}),
        ("post", f"/proposals/{rows['proposals']}/withdrawal/", {}, {"alice", "adam"}),
        ("post", f"/proposals/{rows['proposals']}/approvals/", {"digest": "sha256:x"}, {"bob", "carol"}),
        ("post", f"/approvals/{rows['approvals']}/withdrawal/", {}, {"bob"}),
        ("post", "/activations/", {"proposal": str(rows["proposals"])}, {"olga"}),
        (
            "post",
            "/activations/",
            {"kind": "rollback", "version": str(rows["versions"]), "environment": "development", "reason": "x"},
            {"olga"},
        ),
        (
            "post",
            "/activations/",
            {"kind": "break_glass", "version": str(rows["versions"]), "environment": "development", "reason": "x"},
            set(),
        ),
        ("post", f"/activations/{rows['activations']}/review/", {"comment": "x"}, {"bob", "carol", "adam"}),
        ("post", "/memberships/", {"workspace": slug, "username": "x"}, {"adam"}),
        ("delete", f"/memberships/{rows['memberships']}/", {}, {"adam"}),
        ("post", "/grants/", {"membership": str(rows["memberships"]), "role": "author"}, {"adam"}),
        ("post", f"/grants/{rows['grants']}/confirmation/", {}, {"adam"}),
        ("delete", f"/grants/{rows['grants']}/", {}, {"adam"}),
        ("post", "/environments/", {"workspace": slug, "name": "canary"}, {"adam"}),
        ("post", f"/environments/{rows['environments']}/protection/", {}, {"adam"}),
        (
            "post",
            "/stops/",
            {"workspace": slug, "scope": "tool", "target": "z", "reason": "x"},
            {"olga", "carol", "adam"},
        ),
        ("delete", f"/stops/{rows['stops']}/", {}, {"olga", "carol", "adam"}),
    ]


def test_nobody_changes_anything_without_the_role(rest, rows, workspace, people, trail):
    before = len(trail())
    for method, path, body, allowed in changes(rows, workspace, people):
        send = {name: getattr(rest(name), method) for name in ("alice", "bob", "carol", "dave", "olga", "adam")}
        problem(getattr(rest(), method)(f"{API}{path}", body), 401, "not_authenticated")
        problem(getattr(rest("mallory"), method)(f"{API}{path}", body), 404, "not_found")
        for name in send.keys() - allowed:
            answer = send[name](f"{API}{path}", body)
            assert answer.status_code in (403, 409, 412), (method, path, name, answer.status_code, answer.content)
            if answer.status_code != 403:
                assert answer.json()["code"] in ("digest_mismatch", "not_reviewable"), (path, name, answer.content)
    assert trail()[before:] == []


def test_every_change_over_rest_leaves_a_record(rest, rows, workspace, people, trail):
    done = 0
    gone: set[tuple[str, str]] = set()
    for method, path, body, allowed in changes(rows, workspace, people):
        for name in sorted(allowed):
            before = len(trail())
            answer = getattr(rest(name), method)(f"{API}{path}", body)
            changed = answer.status_code in (201, 204) and (method, path) not in gone
            if method == "delete" and changed:
                gone.add((method, path))  # deleting again is fine and changes nothing
            assert (len(trail()) > before) == changed, (method, path, name, answer.status_code, answer.content)
            done += changed
    assert done >= 10


def test_superuser_and_staff_flags_open_no_door(rest, rows, people, workspace):
    Person.objects.filter(pk=people["mallory"].pk).update(is_superuser=True, is_staff=True)
    people["mallory"].refresh_from_db()
    for name in READS:
        problem(rest("mallory").get(f"{API}/{name}/?workspace={workspace.slug}"), 404, "not_found")


def test_an_inactive_person_is_nobody(rest, rows, people, workspace):
    client = rest("bob")
    Person.objects.filter(pk=people["bob"].pk).update(is_active=False)
    problem(client.get(f"{API}/proposals/"), 401, "not_authenticated")


def test_a_view_that_names_no_permission_is_closed():
    from django.conf import settings
    from rest_framework.settings import api_settings

    assert settings.REST_FRAMEWORK["DEFAULT_PERMISSION_CLASSES"] == ["registry.permissions.DenyAll"]
    classes: list = list(api_settings.DEFAULT_PERMISSION_CLASSES)  # type: ignore[type-arg]
    assert classes == [permissions.DenyAll]
    assert permissions.DenyAll().has_permission(None, None) is False  # type: ignore[arg-type]


def test_every_method_is_documented_with_its_errors():
    from django.urls import include, path
    from drf_spectacular.generators import SchemaGenerator

    document = SchemaGenerator(patterns=[path("api/v1/", include("registry.urls"))]).get_schema(public=True)
    for where, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (where, method)
            for status in ("401", "403", "404"):
                assert "application/problem+json" in operation["responses"][status]["content"], (where, method)
            good = [status for status in operation["responses"] if status.startswith("2")]
            assert good, (where, method)
    assert Proposal._meta.app_label == "registry"
