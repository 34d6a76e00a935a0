"""GitOps: what is applied is what the files say, nothing is lost on the way out, and git says who wrote it."""

import subprocess

import pytest
from django.core.management import CommandError, call_command

from audit.refusal import Refusal
from registry import versions
from registry.manifests.apply import apply as apply_manifests
from registry.manifests.export import export
from registry.models import Contributor, Proposal, Provenance, Version

PROMPT = """\
apiVersion: placet/v1
kind: prompt
metadata: {name: system}
spec:
  template: |
    Look after {{thing}}.
  variables: {type: object, required: [thing], properties: {thing: {type: string}}, additionalProperties: false}
"""
MODEL = """\
apiVersion: placet/v1
kind: model
metadata: {name: scripted}
spec:
  provider: scripted
  model: one
  context_length: 1000
  prices: {input_micro_usd_per_million_tokens: 1, output_micro_usd_per_million_tokens: 1}
  script: []
"""


@pytest.fixture
def apply(workspace, alice, now):
    def run(directory, **options):
        return apply_manifests(workspace, directory, actor=alice, now=now, correlation_id="test", **options)

    return run


def write(directory, **files):
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_yaml", ".yaml").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_applying_twice_creates_once(apply, tmp_path):
    write(tmp_path, prompt_yaml=PROMPT, model_yaml=MODEL)
    assert [one.created for one in apply(tmp_path)] == [True, True]
    assert [one.created for one in apply(tmp_path)] == [False, False]


def test_what_is_exported_applies_without_a_change(apply, workspace, tmp_path):
    odd = "apiVersion: placet/v1\nkind: prompt\nmetadata: {name: odd}\nspec:\n" + (
        '  template: "trailing  \\n \\ttab {{a}} ü 😀 no\\r\\n"\n'
        '  variables: {type: object, properties: {a: {default: {$$file: "x"}}}, examples: [2027-01-31, "no"]}\n'
    )
    write(tmp_path / "in", prompt_yaml=PROMPT, model_yaml=MODEL, odd_yaml=odd)
    first = {(one.version.kind, one.version.name): one.version.digest for one in apply(tmp_path / "in")}
    stored = Version.objects.get(workspace=workspace, name="odd")
    assert versions.content_of(stored)["variables"]["properties"]["a"]["default"] == {"$file": "x"}
    export(workspace, tmp_path / "out")
    again = {(one.version.kind, one.version.name): one for one in apply(tmp_path / "out")}
    assert {key: one.version.digest for key, one in again.items() if key in first} == first
    assert not any(one.created for one in again.values())


def test_pins_by_name_become_digests_and_the_release_is_proposed(apply, build, workspace, tmp_path):
    guard = build.version("policy", "guard")
    agent = (
        "apiVersion: placet/v1\nkind: agent\nmetadata: {name: clerk}\nspec:\n"
        "  pins: [{kind: prompt, name: system}, {kind: model, name: scripted}, {kind: policy, name: guard}]\n"
        "  budgets: {steps: 5}\n"
    )
    write(tmp_path, agent_yaml=agent, prompt_yaml=PROMPT, model_yaml=MODEL)
    applied = {one.version.name: one for one in apply(tmp_path, propose="development")}
    pins = versions.content_of(applied["clerk"].version)["pins"]
    expected = [applied["system"].version.digest, applied["scripted"].version.digest, guard.digest]
    assert [pin["digest"] for pin in pins] == expected
    assert applied["clerk"].proposal.state == "open"
    assert applied["system"].proposal is None
    again = {one.version.name: one for one in apply(tmp_path, propose="development")}
    assert again["clerk"].proposal == applied["clerk"].proposal
    assert Proposal.objects.filter(workspace=workspace).count() == 1


def test_everybody_who_committed_to_a_file_is_a_contributor_and_a_stranger_is_unmapped(apply, tmp_path, alice, bob):
    write(tmp_path, prompt_yaml=PROMPT, text_txt="Look after {{thing}} well.\n")
    split = PROMPT.replace("|\n    Look after {{thing}}.", "{$file: text.txt}")
    (tmp_path / "prompt.yaml").write_text(split)

    def git(*arguments):
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=x", "-c", f"user.email={alice.email}", *arguments], check=True
        )

    git("init", "-q")
    git("add", "prompt.yaml")
    git("commit", "-qm", "manifest", f"--author=Bob <{bob.email.upper()}>")
    git("add", "text.txt")
    git("commit", "-qm", "text\n\nCo-authored-by: Who <who@nowhere.example>", "--author=Eve <eve@nowhere.example>")
    version = apply(tmp_path)[0].version
    rows = Contributor.objects.filter(version=version, how="commit")
    assert {row.person for row in rows} == {alice, bob, None}
    unmapped = {row.identity for row in rows if row.person is None}
    assert unmapped == {"who@nowhere.example", "eve@nowhere.example"}
    origin = Provenance.objects.get(version=version)
    assert (len(origin.commit), origin.path) == (40, "prompt.yaml")
    (tmp_path / "text.txt").write_text("Changed and not committed: {{thing}}\n")
    dirty = apply(tmp_path)[0].version
    assert Provenance.objects.get(version=dirty).commit == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("apiVersion: placet/v1\nkind: prompt\nkind: tool\n", "not YAML"),
        ("a: [", "not YAML"),
        (PROMPT.replace("placet/v1", "v2"), "apiVersion must be placet/v1"),
        (PROMPT.replace("metadata: {name: system}", "metadata: {}"), "metadata has a name"),
        (PROMPT.replace("|\n    Look after {{thing}}.", "{$file: ../secret.txt}"), "outside of the directory"),
        (PROMPT.replace("|\n    Look after {{thing}}.", "{$file: missing.txt}"), "cannot be read"),
        (PROMPT.replace("{name: system}", "{name: system, workspace: other}"), "for the workspace 'other'"),
        (PROMPT.replace("template", "templet"), "Add the member 'template'"),
        (PROMPT + "---\n" + PROMPT, "keep one"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_file_and_the_remedy(apply, tmp_path, text, says):
    (tmp_path / "secret.txt").write_text("not yours {{thing}}")
    write(tmp_path / "in", bad_yaml=text)
    with pytest.raises(Refusal) as refused:
        apply(tmp_path / "in")
    assert says in refused.value.detail
    assert "bad.yaml" in refused.value.detail


def test_the_commands_say_what_they_did_and_what_is_wrong(workspace, alice, tmp_path, capsys):
    write(tmp_path / "in", prompt_yaml=PROMPT)
    call_command("apply", str(tmp_path / "in"), "--workspace", workspace.slug, "--as", alice.username)
    assert "new        prompt/system 1  sha256:" in capsys.readouterr().out
    call_command("export", str(tmp_path / "out"), "--workspace", workspace.slug)
    assert (tmp_path / "out/prompts/system.yaml").exists()
    with pytest.raises(CommandError, match="There is no workspace 'nowhere'"):
        call_command("apply", str(tmp_path / "in"), "--workspace", "nowhere", "--as", alice.username)
    with pytest.raises(CommandError, match="There is no person 'nobody'"):
        call_command("apply", str(tmp_path / "in"), "--workspace", workspace.slug, "--as", "nobody")
