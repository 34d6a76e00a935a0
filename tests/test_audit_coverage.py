"""Nothing changes without a record: every address that changes something, and every command."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from tests import state
from tests.gateway.stage import effects, fresh
from tests.matrix import CHANGES, ROWS
from tests.registry.builders import TOOL
from tests.world import unrecordable

pytest_plugins = ["tests.shared"]
# What else takes a POST changes the visitor's own browser alone, or is what a decision point says of itself.
HARMLESS = {
    "login/",
    "logout/",
    "theme/",
    "w/<slug:slug>/environment/",
    "opa/status/<slug:workspace>/<slug:environment>",
    "opa/logs/<slug:workspace>/<slug:environment>",
    "api/v1/plans/",  # stores nothing
}
# One's own account: it asks for a fresh proof first, so tests/pages/test_account.py shows what is recorded there; and
# the logins of one's programs, in tests/cli/test_login.py.
OWN = ("account/", "login/factor/", "oidc/", "device/", "api/v1/device-logins/")
# A claim is there before its decision, so that the same key is the same call; see the test of its own below.
CLAIMS = ("gateway.call",)


def test_every_method_that_changes_something_says_what_it_records():
    silent = [
        str(row)
        for row in ROWS
        if row.method != "GET" and not row.event and row.route not in HARMLESS and not row.route.startswith(OWN)
    ]
    assert silent == []


@pytest.mark.parametrize("row", CHANGES, ids=str)
def test_a_change_leaves_its_record_and_a_refusal_leaves_neither(row, world):
    ask = world.ask(row)
    before, mark = state.of(world.workspace, but=CLAIMS), world.mark()
    assert row.send(world, "mallory", ask).status_code == row.answers["mallory"]
    assert world.since(mark) == []
    assert state.changed(before, state.of(world.workspace, but=CLAIMS)) == {}
    assert row.send(world, row.allowed[0], ask).status_code < 400
    assert row.event in world.since(mark)


@pytest.mark.parametrize("row", CHANGES, ids=str)
def test_what_cannot_be_recorded_does_not_happen(row, world, refusing):
    """The record and the change share one transaction: without the one the other is not there."""
    ask = world.ask(row)
    before, mark = state.of(world.workspace, but=CLAIMS), world.mark()
    with unrecordable():
        answer = row.send(world, row.allowed[0], ask)
    assert answer.status_code >= 500, answer.content[:300]
    assert world.since(mark) == []
    assert state.changed(before, state.of(world.workspace, but=CLAIMS)) == {}


def test_a_call_that_cannot_be_recorded_is_not_carried_out(world, refusing):
    value, key = fresh(), fresh("key")
    body = {"name": "put", "arguments": {"value": value}}
    headers = {"Idempotency-Key": key}
    with unrecordable():
        answer = world.send("agent", "POST", "/api/v1/tool-calls/", body, **headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "decision_unrecorded")
    assert effects(value) == []


def test_founding_a_workspace_is_on_record(world):
    from audit import records
    from registry.models import Workspace

    slug = fresh("w")
    # Nobody of the shared world: each of them is a member of one workspace.
    call_command("init", slug, "--admin", world.person("founder").username, stdout=StringIO())
    row = Workspace.objects.get(slug=slug)
    assert [one.event for one in records.newest(row.pk)] == ["registry.workspace.created"]


def test_manifests_that_are_applied_are_on_record(world, tmp_path):
    name, mark = fresh("tool"), world.mark()
    manifest = {"apiVersion": "placet/v1", "kind": "tool", "metadata": {"name": name}, "spec": TOOL}
    (tmp_path / "tool.yaml").write_text(json.dumps(manifest))
    author = world.people["alice"].username
    call_command("apply", str(tmp_path), "--workspace", world.slug, "--as", author, stdout=StringIO())
    assert world.since(mark) == ["registry.version.created"]
    call_command("apply", str(tmp_path), "--workspace", world.slug, "--as", author, stdout=StringIO())
    assert world.since(mark) == ["registry.version.created"]
