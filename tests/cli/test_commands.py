"""Every command against a workspace with something in it: what it prints, its JSON, and its exit code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from audit import records
from gateway.models import Hold
from registry import activations, workspaces
from registry.models import Activation, Approval, Proposal, Stop
from tests.agents.acts import Acts
from tests.audit import trails
from tests.registry.builders import publish

pytest_plugins = ["tests.shared"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(placet, world):
    """Return a function that runs the command as somebody of the shared workspace."""
    return lambda name, *arguments, **more: placet(world.people[name], *arguments, **more)


def test_a_proposal_is_opened_reviewed_approved_and_activated(run, world):
    version = world.agent_version()
    label = f"agent/{version.name}"
    assert run("alice", "proposals", "open", label, "-e", "staging", "--dry-run").code == 0
    assert not Proposal.objects.filter(version=version).exists()
    opened = run("alice", "proposals", "open", label, "-e", "staging", "-m", "Better.", "--json").json
    short = opened["id"][-8:]
    assert short in run("bob", "proposals", "list").out
    shown = run("bob", "proposals", "show", short)
    narrow = run("bob", "proposals", "show", short, env={"COLUMNS": "40"}).out
    assert version.digest in narrow and f"/w/{world.slug}/proposals/{opened['id']}/" in narrow  # each in one piece
    assert shown.code == 0 and "Better." in shown.out and "missing" in shown.out and version.digest in shown.out
    early = run("olga", "activate", short, "--yes", "--json")
    assert (early.code, json.loads(early.err)["code"]) == (4, "quorum_missing")
    own = run("alice", "approve", short, "--yes")
    assert (own.code, "approver_is_contributor" in own.err) == (3, True)
    assert re.search(r"correlation id [0-9a-f-]{36}", own.err)
    assert run("bob", "approve", short).code == 2  # nobody can be asked
    assert run("bob", "approve", short, "--dry-run").code == 0
    assert not Approval.objects.filter(proposal_id=opened["id"]).exists()
    moved = run("bob", "approve", short, "--digest", "sha256:" + "0" * 64, "--yes")
    assert (moved.code, "digest_mismatch" in moved.err) == (4, True)
    approved = run("bob", "approve", short, "-m", "Good.", "--digest", version.digest, "--yes", "--json")
    assert (approved.code, approved.json["state"], approved.json["missing"]) == (0, "approved", [])
    assert run("bob", "activate", short, "--yes").code == 3
    waiting = run("olga", "activate", short, "--yes", "--no-wait", "--json")
    assert (waiting.code, waiting.json["state"]) == (4, "requested")


def test_activate_waits_until_it_is_live(run, world, monkeypatch):
    from config.cli import live

    proposal = world.build.propose(world.agent_version(), "staging")
    world.build.approve(proposal, "bob")

    def others_work(seconds):
        """What the bundler and the sweeper do meanwhile."""
        activation = Activation.objects.get(proposal=proposal)
        publish(activation)
        activations.finish(activation, **world.build.how)

    monkeypatch.setattr(live, "wait", others_work)
    done = run("olga", "activate", str(proposal.pk), "--yes", "--json")
    assert (done.code, done.json["state"]) == (0, "live")
    status = run("olga", "status", "--json").json
    assert proposal.version.digest in {row["digest"] for row in status["live"]}


def test_a_proposal_is_rejected_with_a_reason_and_withdrawn_by_its_proposer(run, world):
    proposal = world.proposal()
    assert run("bob", "proposals", "reject", str(proposal.pk), "--yes").code == 2
    rejected = run("bob", "proposals", "reject", str(proposal.pk), "-m", "Too wide.", "--yes", "--json")
    assert (rejected.code, rejected.json["state"]) == (0, "rejected")
    other = world.proposal()
    assert run("bob", "proposals", "withdraw", str(other.pk), "--yes").code == 3
    assert run("alice", "proposals", "withdraw", str(other.pk), "--yes", "--json").json["state"] == "withdrawn"


def test_in_a_protected_environment_a_token_does_not_approve_and_the_page_is_named(run, world, server):
    environment = world.environment()
    proposal = world.build.propose(world.agent_version(), environment.name)
    workspaces.protect(environment, **world.by("adam"))
    charter = world.build.propose(world.build.version("charter", "charter"), None)
    for asked, who in ((proposal, "bob"), (charter, "adam")):
        done = run(who, "approve", str(asked.pk), "--yes")
        page = f"{server}/w/{world.slug}/proposals/{asked.pk}/"
        assert (done.code, page in done.err, "step_up_required" in done.err) == (4, True, True)
        assert not Approval.objects.filter(proposal=asked).exists()
    activated = run("olga", "activate", str(proposal.pk), "--yes")
    assert (activated.code, "step_up_required" in activated.err) == (4, True)
    # To say no needs nobody's presence.
    assert run("bob", "proposals", "reject", str(proposal.pk), "-m", "No.", "--yes").code == 3  # its role: unconfirmed


def test_a_hold_is_shown_with_its_arguments_and_decided_once(run, world):
    hold = world.hold()
    short = str(hold.pk)[-8:]
    assert short in run("bob", "holds", "list").out
    shown = run("bob", "holds", "show", short)
    assert shown.code == 0 and "Would run with" in shown.out and hold.digest in shown.out and "may decide" in shown.out
    refused = run("alice", "holds", "approve", short, "--yes")
    assert refused.code == 3
    assert run("bob", "holds", "approve", short, "--dry-run").code == 0
    assert Hold.objects.get(pk=hold.pk).state == "open"
    done = run("bob", "holds", "approve", short, "-m", "Fine.", "--yes", "--json")
    assert (done.code, done.json["state"]) == (0, "approved")
    again = run("bob", "holds", "reject", short, "--yes")
    assert again.code == 1
    other = world.hold()
    assert run("bob", "holds", "reject", str(other.pk), "--yes", "--json").json["state"] == "rejected"


def test_a_hold_of_a_protected_environment_is_not_decided_with_a_token(run, world):
    hold = world.hold()
    with trails.superuser() as owner:
        owner.execute("UPDATE gateway_hold SET environment = 'production' WHERE id = %s", [hold.pk])
    done = run("bob", "holds", "approve", str(hold.pk), "--yes")
    assert (done.code, f"/w/{world.slug}/holds/{hold.pk}/" in done.err) == (4, True)
    assert Hold.objects.get(pk=hold.pk).state == "open"


def test_a_run_is_started_once_per_key_shown_and_cancelled(run, world):
    started = ("runs", "start", "Do it.", "-a", "steward", "-e", "development", "--key", "k-" + os.urandom(4).hex())
    first = run("alice", *started, "--json")
    assert first.code == 0, first.err
    assert run("alice", *started, "--json").json["id"] == first.json["id"]
    short = first.json["id"][-8:]
    assert short in run("alice", "runs", "list", "-a", "steward").out
    assert "Do it." in run("alice", "runs", "show", short).out
    assert run("bob", "runs", "cancel", short, "--yes").code == 3
    cancelled = run("alice", "runs", "cancel", short, "--yes", "--json")
    assert cancelled.code == 0 and cancelled.json["not_undone"] == []
    assert run("alice", "runs", "start", "x", "-a", "a", "-e", "development", "-i", "novalue").code == 2


def test_watching_a_run_ends_with_its_outcome_or_with_the_hold_that_it_waits_for(run, world, monkeypatch):
    from config.cli import runs

    # The world works on its trail; this is the worker of runs.
    world.scripted([{"call": [{"name": "careful", "arguments": {"value": "x"}}]}])
    row = world.start()
    monkeypatch.setattr(runs, "wait", lambda seconds: Acts.work(world, row))
    held = run("alice", "runs", "watch", str(row.pk), "--json")
    assert (held.code, held.json["wait"]) == (4, "hold")
    assert "placet holds show" in held.err
    ended = world.begun(by=world.people["alice"])
    run("alice", "runs", "cancel", str(ended.pk), "--yes")
    assert run("alice", "runs", "watch", str(ended.pk)).code == 1


def test_calls_are_listed_and_explained(run, world):
    call = world.finished()
    short = str(call)[-8:]
    assert short in run("dave", "calls", "list", "--name", "look").out
    shown = run("dave", "calls", "show", short, "--json")
    assert (shown.code, shown.json["state"]) == (0, "completed")
    words = run("dave", "calls", "show", short).out
    assert "completed" in words and "Arguments" in words
    assert run("dave", "calls", "list", "-n", "1", "--json").json[0]["id"]


def test_a_stop_is_set_listed_and_lifted(run, world):
    assert run("alice", "stop", "agent", "wild-cli", "-m", "Wild.", "--yes").code == 3
    assert run("olga", "stop", "agent", "wild-cli", "-m", "Wild.", "--dry-run").code == 0
    assert not Stop.objects.filter(target="wild-cli").exists()
    done = run("olga", "stop", "agent", "wild-cli", "-m", "Wild.", "--yes", "--json")
    short = done.json["id"][-8:]
    assert "wild-cli" in run("alice", "stops", "list").out and "wild-cli" in run("alice", "status").out
    assert run("olga", "lift", short, "--yes", "--json").json["lifted"] is True
    assert "wild-cli" not in run("alice", "stops", "list").out
    assert "wild-cli" in run("alice", "stops", "list", "--all").out
    unknown = run("olga", "stop", "planet", "--yes", "-m", "x", "--json")
    assert unknown.code == 1 and json.loads(unknown.err)["field"] == "scope"


def test_a_version_that_was_live_is_brought_back(run, world, monkeypatch):
    from config.cli import live

    version = world.lived()

    def others_work(seconds):
        activation = Activation.objects.filter(version=version).latest("pk")
        publish(activation)
        activations.finish(activation, **world.build.how)

    monkeypatch.setattr(live, "wait", others_work)
    label = f"agent/{version.name}"
    assert run("olga", "rollback", label, "-e", "staging", "-m", "Worse.", "--yes").code == 2
    done = run("olga", "rollback", f"{label}@1", "-e", "staging", "-m", "Worse.", "--yes", "--json")
    assert (done.code, done.json["kind"], done.json["state"]) == (0, "rollback", "live")
    assert run("olga", "rollback", f"{label}@7", "-e", "staging", "-m", "Worse.", "--yes").code == 1


def test_the_trail_is_fetched_and_verified_offline_and_one_changed_letter_is_found(run, world, tmp_path):
    from django.conf import settings

    world.seal()
    key = Path(settings.PLACET_KEYS) / f"checkpoint-{world.workspace.pk}.pub"
    export, kept = tmp_path / "trail.ndjson", tmp_path / "kept.note"
    assert run("alice", "trail", "export", export).code == 3 and not export.exists()
    assert run("dave", "trail", "checkpoint", kept).code == 0
    fetched = run("dave", "trail", "export", export, "--json")
    assert (fetched.code, fetched.json["bytes"]) == (0, export.stat().st_size)
    proven = run("dave", "verify", export, "--key", key, "--checkpoint", kept, "--json")
    assert (proven.code, proven.json["verified"], proven.json["complete"]) == (0, True, True)
    alone = run("dave", "verify", export, "--key", key, "--json")
    assert (alone.code, alone.json["verified"], alone.json["complete"]) == (4, True, False)
    export.write_bytes(export.read_bytes().replace(b"registry.workspace.created", b"registry.workspace.creaded", 1))
    assert run("dave", "verify", export, "--key", key, "--checkpoint", kept).code == 1
    assert run("dave", "verify", tmp_path / "nothing", "--key", key).code == 2
    listed = run("dave", "trail", "list", "-n", "3", "--json").json
    assert [row["id"] for row in listed] == [str(row.id) for row in records.newest(world.workspace.pk, limit=3)]
    assert world.people["dave"].username in run("dave", "trail", "list", "-n", "60").out


def test_an_id_may_be_shortened_but_must_mean_one(run, world):
    first, second = world.proposal(), world.proposal()
    assert run("bob", "proposals", "show", str(first.pk)[-8:], "--json").json["id"] == str(first.pk)
    assert str(first.pk)[:6] == str(second.pk)[:6]
    many = run("bob", "proposals", "show", str(first.pk)[:6])
    assert many.code == 2 and "means" in many.err
    assert run("bob", "proposals", "show", "ffffffffff").code == 1
    assert run("bob", "proposals", "show", "abc").code == 2


def test_a_stranger_sees_nothing_and_is_told_so_with_stable_codes(run, world):
    lost = run("mallory", "proposals", "list", "-w", world.slug, "--json")
    assert (lost.code, lost.out, json.loads(lost.err)["code"]) == (1, "", "not_found")
    hold = world.hold()
    assert run("mallory", "holds", "show", str(hold.pk)).code == 1


def test_text_of_others_cannot_move_the_cursor_or_hide(run, world):
    trick = "fine\x1b[2J\u202egnp.exe"
    name = f"evil-{os.urandom(3).hex()}"
    run("olga", "stop", "agent", name, "-m", trick, "--yes")
    told = run("alice", "stops", "list").out
    assert "\x1b" not in told and "\u202e" not in told and "<U+001B>" in told.replace("\n", "")
    as_json = run("alice", "stops", "list", "--json")
    assert as_json.json[0]["reason"] == trick and as_json.out.isascii()
    marked = "[bold]no markup[/bold]"
    run("olga", "stop", "agent", f"{name}-2", "-m", marked, "--yes")
    assert marked in run("alice", "stops", "list").out


@pytest.mark.parametrize("columns", ["80", "60", "200"])
def test_tables_keep_their_shape_in_any_width(run, world, columns):
    world.proposal(), world.hold(), world.finished()
    for arguments in (("proposals", "list"), ("holds", "list"), ("calls", "list"), ("status",), ("stops", "list")):
        done = run("alice", *arguments, env={"COLUMNS": columns})
        assert done.code == 0
        lines = done.out.splitlines()
        assert max(map(len, lines)) <= int(columns)
        assert "…" not in done.out  # nothing is cut


def test_the_installed_command_starts_from_any_directory_and_knows_its_completion(tmp_path):
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_COLOR": "1"}
    command = [str(ROOT / "scripts/placet")]
    if not (ROOT / ".venv/bin/python").exists():
        command = [sys.executable, "-m", "config.cli"]
        env["PYTHONPATH"] = str(ROOT)
    asked = subprocess.run([*command, "--version"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout) == (0, "placet 0.1.0\n")
    wrong = subprocess.run([*command, "nonsense"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    asks = env | {"_PLACET_COMPLETE": "complete_bash", "COMP_WORDS": "placet pro", "COMP_CWORD": "1"}
    offered = subprocess.run(command, cwd=tmp_path, env=asks, capture_output=True, text=True, check=False)
    assert offered.stdout.split() == ["proposals"]


def test_founding_a_workspace_works_on_the_installation_here(placet, people):
    slug = f"w-{os.urandom(4).hex()}"
    made = placet(
        None, "init", slug, "--admin", people["adam"].username, "--member", f"{people['bob'].username}=reviewer"
    )
    assert made.code == 0, made.err
    assert slug in made.out
    again = placet(None, "init", slug, "--admin", people["adam"].username)
    assert again.code == 1 and "already" in again.err
