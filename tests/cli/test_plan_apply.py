"""Plan and apply over REST: what is shown is what is applied, nothing moves unnoticed, and git can only add eyes."""

import json
import subprocess
import threading

import pytest

from audit.refusal import Refusal
from config.cli import planfile
from config.cli.client import Client
from registry import memberships, versions
from registry.manifests import files
from registry.models import Contributor, Proposal, Version
from tests.registry.test_manifests import MODEL, PROMPT, write

AGENT = """\
apiVersion: placet/v1
kind: agent
metadata: {name: clerk}
spec:
  pins: [{kind: prompt, name: system}, {kind: model, name: scripted}, {kind: policy, name: guard}]
  budgets: {steps: 5}
"""


@pytest.fixture
def manifests(tmp_path, build):
    """A directory with a release whose policy is in the workspace already."""
    build.version("policy", "guard")
    return write(tmp_path / "in", agent_yaml=AGENT, prompt_yaml=PROMPT, model_yaml=MODEL)


def commit(directory, author):
    def git(*arguments):
        who = ("-c", f"user.name={author.username}", "-c", f"user.email={author.email}")
        subprocess.run(["git", "-C", directory, *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "manifests")


def test_a_plan_says_what_would_change_and_who_would_have_to_agree(placet, alice, workspace, manifests, trail):
    done = placet(alice, "plan", manifests, "-e", "development", "--json")
    assert done.code == 0
    planned = {f"{one['kind']}/{one['name']}": one for one in done.json["manifests"]}
    agent = planned["agent/clerk"]
    assert list(planned)[-1] == "agent/clerk"
    assert (agent["propose"], agent["number"], agent["base"], agent["live"]) == (True, None, None, None)
    needed = {(need["kind"], need["approvals"], tuple(need["roles"])) for need in agent["needs"]}
    assert needed == {(kind, 1, ("reviewer",)) for kind in ("agent", "prompt", "model", "policy")}
    assert planned["prompt/system"]["propose"] is False and planned["prompt/system"]["needs"] == []
    assert {event.split(".")[1] for event in trail()} == {"access_token"}
    assert not Version.objects.filter(workspace=workspace, name="clerk").exists()
    told = placet(alice, "plan", manifests, "-e", "production", "--check")
    assert told.code == 4
    assert "2 by reviewer and security" in told.out and "3 new, 0 unchanged, 1 to propose" in told.out


def test_a_plan_s_file_is_applied_as_it_was_shown_and_twice_is_once(placet, alice, workspace, manifests, tmp_path):
    file = tmp_path / "release.plan"
    assert placet(alice, "plan", manifests, "-e", "development", "-o", file).code == 0
    (manifests / "prompt.yaml").write_text(PROMPT.replace("Look after", "Forget"))  # after the plan: not in it
    first = placet(alice, "apply", file, "--yes", "--json")
    assert first.code == 0, first.err
    assert [one["created"] for one in first.json] == [True, True, True]
    agent = first.json[-1]
    prompt = Version.objects.get(workspace=workspace, name="system")
    assert "Look after" in versions.content_of(prompt)["template"]
    again = placet(alice, "apply", file, "--yes", "--json")
    assert (again.code, [one["created"] for one in again.json]) == (0, [False, False, False])
    assert again.json[-1]["proposal"] == agent["proposal"]
    assert Proposal.objects.filter(workspace=workspace).count() == 1


def test_apply_refuses_with_exit_4_when_somebody_changed_the_base(placet, alice, build, workspace, manifests, tmp_path):
    assert placet(alice, "apply", manifests, "--yes").code == 0
    (manifests / "prompt.yaml").write_text(PROMPT.replace("Look after", "Mind"))
    file = tmp_path / "release.plan"
    assert placet(alice, "plan", manifests, "-e", "development", "-o", file).code == 0
    meanwhile = build.version("prompt", "system", template="Guard {{repository}}.")
    count = Version.objects.filter(workspace=workspace).count()
    moved = placet(alice, "apply", file, "--yes", "--json")
    assert (moved.code, moved.out) == (4, "")
    problem = json.loads(moved.err[moved.err.index("{") :])
    assert (problem["code"], problem["newest"], problem["exit_code"]) == ("base_moved", meanwhile.digest, 4)
    assert Version.objects.filter(workspace=workspace).count() == count
    words = placet(alice, "apply", file, "--yes")
    assert words.code == 4 and "Run `placet plan` again" in words.err and "version 2" in words.err


def test_apply_refuses_with_exit_4_when_another_version_went_live(placet, alice, build, workspace, tmp_path):
    build.baseline()
    directory, file = tmp_path / "in", tmp_path / "plan.json"
    assert placet(alice, "export", directory, "--kind", "policy").code == 0
    module = directory / "policies/baseline/modules/policy.rego"

    def stricter(line):
        module.write_text(module.read_text() + f"\n# {line}\n")

    stricter("two")
    second = placet(alice, "apply", directory, "-e", "development", "--yes", "--json").json[0]
    stricter("three")
    planned = placet(alice, "plan", directory, "-e", "development", "-o", file, "--json").json["manifests"][0]
    assert (planned["base"]["number"], planned["live"]["number"]) == (2, 1)
    assert [(one["how"], one["added"], one["removed"]) for one in planned["changes"]] == [("changed", 4, 0)]
    proposal = Proposal.objects.get(pk=second["proposal"])
    build.approve(proposal, "bob")
    build.activate(proposal)
    moved = placet(alice, "apply", file, "--yes")
    assert moved.code == 4 and "version 2" in moved.err and "base_moved" in moved.err
    assert Version.objects.filter(workspace=workspace, name="baseline").count() == 2


def test_whoever_applies_is_a_contributor_even_if_their_git_history_names_somebody_else(
    placet, alice, bob, carol, workspace, manifests
):
    commit(manifests, bob)
    done = placet(alice, "apply", manifests, "-e", "development", "--yes", "--json")
    proposal = Proposal.objects.get(pk=done.json[-1]["proposal"])
    people = set(Contributor.objects.filter(version=proposal.version).values_list("person__username", flat=True))
    assert people == {alice.username, bob.username}
    refused = placet(alice, "approve", str(proposal.pk), "--yes")
    assert refused.code == 3 and "approver_is_contributor" in refused.err
    assert placet(bob, "approve", str(proposal.pk), "--yes").code == 3


def test_leaving_git_out_does_not_take_anybody_off_the_list(placet, alice, bob, workspace, manifests, tmp_path):
    commit(manifests, bob)
    placet(alice, "apply", manifests, "--yes")
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in manifests.glob("*.yaml"):
        (bare / path.name).write_bytes(path.read_bytes())
    done = placet(alice, "apply", bare, "-e", "development", "--yes", "--json")
    assert not any(one["created"] for one in done.json)
    refused = placet(bob, "approve", done.json[-1]["proposal"], "--yes")
    assert refused.code == 3 and "approver_is_contributor" in refused.err


def test_an_unknown_committer_is_shown_in_the_plan_and_blocks_approval(placet, alice, bob, mallory, manifests):
    commit(manifests, mallory)
    told = placet(alice, "plan", manifests, "-e", "development")
    assert f"nobody knows {mallory.email}" in told.out.replace("\n", " ")
    done = placet(alice, "apply", manifests, "-e", "development", "--yes", "--json")
    refused = placet(bob, "approve", done.json[-1]["proposal"], "--yes")
    assert refused.code == 1 and "contributor_unmapped" in refused.err


def test_who_is_no_author_gets_no_plan_and_applies_nothing(placet, bob, mallory, workspace, manifests, tmp_path, alice):
    file = tmp_path / "plan.json"
    placet(alice, "plan", manifests, "-o", file)
    assert placet(bob, "plan", manifests).code == 3
    refused = placet(bob, "apply", file, "--yes")
    assert refused.code == 3 and "role_missing" in refused.err
    stranger = placet(mallory, "plan", manifests, "-w", workspace.slug)
    assert stranger.code == 1 and "not_found" in stranger.err
    assert not Version.objects.filter(workspace=workspace, name="system").exists()


def test_an_edited_plan_and_a_plan_for_another_server_are_refused(placet, alice, manifests, tmp_path):
    file = tmp_path / "plan.json"
    placet(alice, "plan", manifests, "-o", file)
    plan = json.loads(file.read_text())
    plan["manifests"][0]["spec"] = plan["manifests"][0]["spec"] | {"model": "another"}
    (tmp_path / "edited.json").write_text(json.dumps(plan))
    edited = placet(alice, "apply", tmp_path / "edited.json", "--yes")
    assert edited.code == 1 and "plan_changed" in edited.err
    elsewhere = placet(alice, "apply", file, "--yes", env={"PLACET_URL": "http://localhost:1"})
    assert elsewhere.code == 2 and "was made for" in elsewhere.err
    assert placet(alice, "apply", tmp_path / "nothing", "--yes").code == 2


def test_apply_asks_first_and_changes_nothing_without_a_yes(placet, alice, workspace, manifests):
    silent = placet(alice, "apply", manifests)
    assert silent.code == 2 and "--yes" in silent.err
    dry = placet(alice, "apply", manifests, "--dry-run")
    assert dry.code == 0 and "3 new" in dry.out
    assert not Version.objects.filter(workspace=workspace, name="system").exists()


def test_two_that_apply_the_same_at_once_make_one_version_and_one_proposal(
    placet, server, token, alice, adam, olga, workspace, manifests, now
):
    member = workspace.memberships.get(person=olga)
    memberships.grant(member, "author", environment=None, actor=adam, now=now, correlation_id="test")
    bodies, results = {}, []
    for person in (alice, olga):
        plan = placet(person, "plan", manifests, "-e", "development", "--json").json
        bodies[person] = [planfile.to_send(plan, one) for one in plan["manifests"]]

    def work(person, client):
        results.append([client.post("manifests/", body) for body in bodies[person]])

    people = (alice, olga, alice, olga)
    jobs = [threading.Thread(target=work, args=(person, Client(server, token(person)))) for person in people]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(results) == 4
    for column in range(3):
        assert sum(result[column]["created"] for result in results) == 1
        assert len({result[column]["digest"] for result in results}) == 1
    assert len({result[-1]["proposal"] for result in results}) == 1
    assert Proposal.objects.filter(workspace=workspace).count() == 1
    contributors = Contributor.objects.filter(version__name="system", version__workspace=workspace, how="creator")
    assert {row.person for row in contributors} == {alice, olga}


def test_what_is_exported_over_rest_applies_without_a_change(
    placet, alice, build, workspace, manifests, tmp_path, trail
):
    odd = "apiVersion: placet/v1\nkind: prompt\nmetadata: {name: odd}\nspec:\n" + (
        '  template: "trailing  \\n \\ttab {{a}} ü 😀 no\\r\\n"\n'
        '  variables: {type: object, properties: {a: {default: {$$file: "x"}}}, examples: [2027-01-31, "no"]}\n'
    )
    write(manifests, odd_yaml=odd)
    build.version("policy", "tested")
    assert placet(alice, "apply", manifests, "--yes").code == 0
    written = placet(alice, "export", tmp_path / "out", "--json")
    assert written.code == 0 and len(written.json) == 7  # with the charter and both policies
    before = trail()
    done = placet(alice, "apply", tmp_path / "out", "--yes", "--json")
    assert done.code == 0, done.err
    assert not any(one["created"] for one in done.json)
    assert set(trail()[len(before) :]) <= {"registry.version.described"}
    assert not any((tmp_path / "dry").glob("**/*"))
    assert placet(alice, "export", tmp_path / "dry", "--dry-run").code == 0
    assert not (tmp_path / "dry").exists()


def test_a_check_that_fails_is_shown_in_the_plan_with_exit_1(placet, alice, build, tmp_path):
    build.version("policy", "guard")
    placet(alice, "export", tmp_path, "--kind", "policy")
    module = tmp_path / "policies/guard/modules/policy.rego"
    module.write_text(module.read_text() + "\nnow := time.now_ns()\n")
    done = placet(alice, "plan", tmp_path)
    assert done.code == 1 and "check_failed" in done.err and "time.now_ns" in done.out
    assert Version.objects.filter(workspace=build.workspace, name="guard").count() == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "not YAML"),
        (PROMPT.replace("template", "templet"), "Add the member 'template'"),
        (PROMPT.replace("{name: system}", "{name: system, workspace: other}"), "for the workspace 'other'"),
        (PROMPT.replace("|\n    Look after {{thing}}.", "{$file: ../secret.txt}"), "outside of the directory"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_file_and_the_remedy(placet, alice, tmp_path, workspace, text, says):
    (tmp_path / "secret.txt").write_text("not yours {{thing}}")
    write(tmp_path / "in", bad_yaml=text)
    done = placet(alice, "plan", tmp_path / "in", "-w", workspace.slug)
    assert done.code == 1 and says in done.err and "bad.yaml" in done.err


def test_a_server_cannot_write_files_outside_of_the_directory(tmp_path):
    for name, content in (("../../evil", {}), ("fine", {"modules": {"../../../../evil.rego": "x"}})):
        with pytest.raises(Refusal, match="path_outside"):
            files.write(tmp_path / "out", workspace="w", kind="policy", name=name, content=content)
    assert list(tmp_path.glob("*evil*")) == []
