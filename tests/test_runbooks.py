"""Every command of docs/operations can be typed, and every metric, log line and code named there exists."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands, load_command_class
from django.urls import Resolver404, resolve
from typer.main import get_command

from config.cli.app import app
from tests.matrix import ROWS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/operations"
RUNBOOKS = [page for page in sorted(FOLDER.glob("*.md")) if "## Symptom" in page.read_text()]
PAGES = [FOLDER / "README.md", FOLDER / "keys.md", *RUNBOOKS]
APPS = ("audit", "registry", "gateway", "agents", "operations", "config")
# What the system has, which nobody checks here.
PLAIN = {"cat", "ls", "rm", "tail", "date", "timedatectl", "curl", "make"}
UUID = "00000000-0000-7000-8000-000000000000"
PLACEHOLDERS = {"WORKSPACE": UUID, "ID": UUID, "SIZE": "12", "SLUG": "acme", "NUMBER": "3"}
BLOCK = re.compile(r"^( *)```(?:sh)?\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
SECTIONS = ["Symptom", "Check", "Act", "Verify", "Do not"]


# In which test the failure of each runbook is produced for real, and what the page tells to do is done.
PRODUCED = {
    "agent-wild": "tests/cli/test_commands.py::test_a_stop_is_set_listed_and_lifted",
    "broker": "tests/faults/test_kills.py::test_a_run_finishes_after_the_broker_was_killed_with_all_its_messages",
    "bundle-refused": "tests/gateway/test_key_rotation.py",
    "checkpoint-key": "tests/recovery/test_set_back.py::test_a_lost_signing_key_begins_a_new_epoch_that_loses_nothing",
    "clock": "tests/config/test_health.py::"
    "test_a_machine_whose_clock_is_off_is_not_ready_and_its_metric_says_by_how_much",
    "credential-leaked": "tests/cli/test_api.py::test_a_leaked_credential_is_revoked_and_lost_factors_are_reset",
    "database": "tests/test_error_shape.py::test_without_the_database_it_is_503_and_works_again_afterwards",
    "lost-factor": "tests/registry/test_people.py",
    "opa": "tests/gateway/test_pdp_opa.py::"
    "test_a_server_that_is_stopped_or_hangs_allows_nothing_and_is_asked_again_afterwards",
    "publisher-stopped": "tests/recovery/test_set_back.py::test_the_way_from_the_rollback_to_a_new_epoch",
    "restore": "tests/recovery/test_backup.py::"
    "test_restored_it_holds_all_that_was_acknowledged_before_it_and_lacks_what_came_after",
    "stuck-runs": "tests/cli/test_api.py::test_a_dead_step_is_tried_again_and_its_run_waits_for_nobody",
    "tools": "tests/cli/test_api.py::test_a_breaker_is_reset_and_its_alarm_ends",
    "trail-behind": "tests/gateway/test_trail.py::"
    "test_past_the_limit_tools_of_high_risk_wait_until_the_trail_is_signed",
    "unknown-outcomes": "tests/cli/test_api.py::test_a_call_of_which_nobody_knows_is_settled_and_its_alarm_ends",
    "upgrade": "tests/faults/test_kills.py::"
    "test_an_upgrade_while_runs_are_in_flight_loses_none_and_old_exports_still_verify",
}


def commands():
    """Yield (page, command) of every line in a fenced block."""
    for page in PAGES:
        for _, block in BLOCK.findall(page.read_text()):
            for line in filter(None, map(str.strip, block.splitlines())):
                yield page.name, line


def filled(words):
    """Return the words with what stands in capitals replaced."""
    return [
        re.sub(r"\b(" + "|".join(PLACEHOLDERS) + r")\b", lambda found: PLACEHOLDERS[found[1]], word) for word in words
    ]


@cache
def source():
    """Return all our source, for literals."""
    paths = [path for app_name in APPS for path in (ROOT / app_name).rglob("*.py")]
    return "\n".join(path.read_text() for path in [*paths, *ROOT.glob("policies/*/policy.rego")])


def try_manage(name, *arguments):
    assert name in get_commands(), f"there is no manage.py {name}"
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    parser.parse_args(list(arguments))


def try_placet(*arguments):
    command, name, words = get_command(app), "placet", list(arguments)
    while True:
        context = command.make_context(name, words)
        if not hasattr(command, "resolve_command"):
            return context
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])


def try_line(line):
    """Raise an error if the line cannot be typed."""
    first, *words = shlex.split(line)
    words = filled(words)
    if first == "python" and words[0] == "manage.py":
        try_manage(*words[1:])
    elif first == "placet":
        context = try_placet(*words)
        if words[0] == "api":
            method, path = context.params["method"], f"/api/v1/{context.params['path']}"
            assert (method, resolve(path).route) in {(row.method, row.route) for row in ROWS}, line
    else:
        assert first in PLAIN, line
        if first == "make":
            targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert set(words) <= targets
        if first == "curl":
            resolve(words[-1].removeprefix("http://127.0.0.1:8000"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_can_be_typed(page):
    wrong = []
    for name, line in commands():
        try:
            if name == page.name:
                try_line(line)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the page is wrong
            wrong.append(f"{line}: {error!r}")
    assert wrong == []


def test_a_command_that_does_not_exist_is_found():
    for line in (
        "python manage.py fsk",
        "python manage.py backup",
        "python manage.py recovery check --all",
        "python manage.py keys rotate everything",
        "placet hold list",
        "placet runs list --sate waiting",
        "placet api POST breakers/ID/",
        "placet api GET nowhere/",
        "make everything",
        "curl -s http://127.0.0.1:8000/health",
        "psql -c 'DELETE FROM audit_pending'",
    ):
        with pytest.raises((Exception, SystemExit)):
            try_line(line)
    assert len(list(commands())) > 90


def signs(kind):
    """Yield (page, cell) of the rows of that kind in tables of symptoms."""
    for page in RUNBOOKS:
        for cell in re.findall(rf"^\| {kind} \| (.*) \|$", page.read_text(), re.MULTILINE):
            yield page.name, cell


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_every_metric_exists(client, db):
    from prometheus_client import REGISTRY

    shown = client.get("/metrics").content.decode()
    known = {name for collector in REGISTRY._collector_to_names.values() for name in collector}
    known |= set(re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE))
    named = {found for page in PAGES for found in re.findall(r"\bplacet_[a-z_]+", page.read_text())} - {"placet_"}
    assert len(named) > 12
    assert {name for name in named if name not in known and f"{name}_total" not in known} == set()


def test_every_log_line_exists():
    codes = {token for kind in ("code", "refusal") for _, cell in signs(kind) for token in quoted(cell)}
    absent, seen = [], 0
    for page, cell in signs("log"):
        for token in quoted(cell):
            seen += 1
            if token not in codes and f'"{token}"' not in source():
                absent.append((page, token))
    assert absent == []
    assert seen > 20


def test_every_code_exists():
    absent = [
        (page, token)
        for kind in ("code", "refusal")
        for page, cell in signs(kind)
        for token in quoted(cell)
        if re.fullmatch(r"[a-z_]+", token) and f'"{token}"' not in source()
    ]
    assert absent == []


def test_what_readyz_says_is_quoted_as_it_is():
    absent = [
        (page, token)
        for page, cell in signs("readyz")
        for token in quoted(cell)
        if token != "alarms" and token not in source()
    ]
    assert absent == []


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_goes_from_the_sign_to_the_proof(page):
    text = page.read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [one for one in headings if one in SECTIONS] == SECTIONS
    assert re.search(r"^\| (metric|log|code|readyz|page) \|", text, re.MULTILINE)


def test_the_failure_of_every_runbook_is_produced_in_some_test():
    assert {page.stem for page in RUNBOOKS} == set(PRODUCED)
    for place in PRODUCED.values():
        path, _, name = place.partition("::")
        assert not name or f"def {name}(" in (ROOT / path).read_text(), place


def test_every_page_is_in_the_index_and_the_index_in_the_readme():
    index = (FOLDER / "README.md").read_text()
    assert [page.name for page in RUNBOOKS if f"({page.name}" not in index] == []
    assert len(RUNBOOKS) > 14
    assert "(docs/operations/README.md)" in (ROOT / "README.md").read_text()


def test_an_unknown_address_is_refused_by_this_very_test():
    with pytest.raises(Resolver404):
        resolve("/api/v1/nowhere/")
    with pytest.raises(CommandError):
        try_manage("fsck", "no-uuid")
