"""Tool servers, driven for real: the servers' own effect log is what counts here, never ours."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest

from gateway import transport
from gateway.transport import TransportFailed, confine, connection, definitions, mcp
from tests.gateway.effects import PYTHON, ROOT, Effects, install, until


@pytest.fixture(scope="session", autouse=True)
def tools():
    """The tool servers' own virtual environment."""
    install()


@pytest.fixture
def launch(tmp_path, settings):
    """Return a function: further members of the launcher, as TOML -> an effects server."""
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o777)
    tmp_path.chmod(0o755)
    settings.PLACET_LAUNCHERS = str(tmp_path / "launchers.toml")

    def launch(more="", command=None):
        command = command or [str(PYTHON), str(ROOT / "tests/tools/effects.py"), str(place)]
        Path(settings.PLACET_LAUNCHERS).write_text(f"[launchers.effects]\ncommand = {json.dumps(command)}\n{more}\n")
        return Effects(place)

    yield launch
    transport.close()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_tool_answers_with_content_and_structure_and_has_one_effect(launch):
    server = launch()
    result = server.call("look", {"value": "a"})
    assert result.content["structured"] == {"value": "a", "again": False}
    assert result.content["content"][0]["type"] == "text"
    assert (result.is_error, result.meta) == (False, {"transport": "mcp", "tries": 1})
    assert [effect["tool"] for effect in server.effects()] == ["look"]


def test_one_process_serves_a_release_and_another_release_gets_its_own(launch):
    server = launch()
    first = server.call("meta").content["structured"]["pid"]
    assert server.call("meta").content["structured"]["pid"] == first
    assert server.call("meta", session=uuid4()).content["structured"]["pid"] == first
    assert server.call("meta", release="sha256:other").content["structured"]["pid"] != first
    assert len(mcp.processes()) == 2


def test_a_stateful_server_is_one_process_per_session(launch):
    server = launch("stateful = true")
    session = uuid4()
    first = server.call("meta", session=session).content["structured"]["pid"]
    assert server.call("meta", session=session).content["structured"]["pid"] == first
    assert server.call("meta", session=uuid4()).content["structured"]["pid"] != first


def test_calls_share_one_connection_and_none_of_them_negotiates_or_lists(launch):
    server = launch()
    server.call("look", {"value": "first"})
    (conn,) = mcp._connections.values()
    before = conn.listings
    threads = [threading.Thread(target=server.call, args=("look", {"value": f"{n}"})) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.effects()) == 17
    assert len({effect["pid"] for effect in server.effects()}) == 1
    assert conn.listings == before == 1


def test_the_idempotency_key_and_the_trace_travel_beside_the_arguments(launch):
    server = launch()
    meta = server.call("meta", key="key-7").content["structured"]["meta"]
    assert meta["dev.placet/idempotency-key"] == "key-7"
    assert meta["traceparent"].startswith("00-0193b3a4000070008000" + "00000000abcd-")


def test_the_idempotency_key_goes_into_the_argument_that_the_contract_names(launch):
    server = launch()
    paid = {"transport": {"key_argument": "payment_key"}, "effect": "keyed"}
    server.call("pay", {"value": "1"}, key="key-8", **paid)
    again = server.call("pay", {"value": "1"}, key="key-8", **paid)
    assert again.content["structured"]["again"] is True
    assert [effect["key"] for effect in server.effects()] == ["key-8"]


def test_the_server_inherits_nothing_of_ours_and_gives_up_its_powers(launch, monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "ours")
    server = launch('cwd = "/usr"\nlimits = {open_files = 99, file_bytes = 1000000}\nenv = {A = "1"}')
    told = server.call("meta").content["structured"]
    assert told["environment"].keys() == {"PATH", "HOME", "SHELL", "TERM", "LANG", "USER", "LOGNAME", "A"} | (
        told["environment"].keys() & {"LC_CTYPE"}
    )
    assert (told["environment"]["HOME"], told["cwd"]) == ("/nonexistent", "/usr")
    status = dict(line.split(":\t", 1) for line in told["status"].splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["CapEff"].strip("0")) == ("1", "")
    limits = {line[:26].strip(): line[26:].split()[0] for line in told["limits"].splitlines()}
    assert (limits["Max open files"], limits["Max file size"], limits["Max core file size"]) == ("99", "1000000", "0")


def test_a_command_that_the_tools_own_uid_can_reach_runs_under_it():
    wanted = {
        "parent": os.getpid(),
        "user": "auto",
        "reach": ["/bin/sh", "/"],
        "sandboxed": False,
        "cwd": "/",
        "limits": {},
    }
    told = subprocess.run(
        [sys.executable, "-I", "-S", confine.__file__, json.dumps(wanted), "/bin/sh", "-c", "id -u; id -G; umask"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    mine = confine.TOOL_UID if os.geteuid() == 0 else os.geteuid()
    assert told[0] == str(mine)
    assert told[-1] == "0077"


def test_a_server_whose_gateway_is_gone_does_not_start():
    wanted = {
        "parent": 1 << 22,
        "user": "auto",
        "reach": ["/bin/sh", "/"],
        "sandboxed": False,
        "cwd": "/",
        "limits": {},
    }
    command = [sys.executable, "-I", "-S", confine.__file__, json.dumps(wanted), "/bin/echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_an_error_of_the_tool_is_an_answer(launch):
    result = launch().call("look", {"value": "error"})
    assert result.is_error is True
    assert "Error executing tool" in result.content["content"][0]["text"]


def test_a_server_that_dies_after_the_request_leaves_it_open_whether_it_acted_and_is_started_anew(launch):
    server = launch()
    for value, acted in (("die", 1), ("die-before", 0)):
        with pytest.raises(TransportFailed) as failed:
            server.call("launch", {"value": value}, effect="unsafe", retry={"attempts": 3})
        assert (failed.value.code, failed.value.happened) == ("tool_unreachable", "maybe")
        assert len([e for e in server.effects() if e["value"] == value]) == acted
    assert server.call("look", {"value": "alive"}).is_error is False


def test_a_server_killed_between_calls_is_started_anew(launch):
    server = launch()
    pid = server.call("meta").content["structured"]["pid"]
    (conn,) = mcp._connections.values()
    os.kill(pid, signal.SIGKILL)
    until(lambda: conn.gone)
    assert server.call("meta").content["structured"]["pid"] != pid


@pytest.mark.parametrize(
    ("effect", "tool", "effects"), [("read", "look", 2), ("idempotent", "put", 2), ("keyed", "pay", 1)]
)
def test_what_bears_repetition_is_repeated_with_the_same_key(launch, effect, tool, effects):
    server = launch()
    (server.place / "die-once").touch()
    result = server.call(tool, {"value": "die-once"}, effect=effect, retry={"attempts": 2}, key="key-9")
    assert result.meta["tries"] == 2
    assert [(e["tool"], e["key"]) for e in server.effects()] == [(tool, "key-9")] * effects


def test_an_unsafe_tool_is_not_asked_twice(launch):
    server = launch()
    (server.place / "die-once").touch()
    with pytest.raises(TransportFailed) as failed:
        server.call("launch", {"value": "die-once"}, effect="unsafe", retry={"attempts": 5})
    assert failed.value.happened == "maybe"
    assert len(server.effects()) == 1


def test_a_deadline_before_the_request_left_says_no_and_after_it_says_maybe(launch):
    server = launch()
    assert server.pins
    with pytest.raises(TransportFailed) as failed:
        launch(command=["/bin/sleep", "60"]).call("launch", {"value": "x"}, seconds=0.3)
    assert (failed.value.code, failed.value.happened) == ("tool_timeout", "no")
    server = launch()
    server.call("look", {"value": "warm"})
    with pytest.raises(TransportFailed) as failed:
        server.call("launch", {"value": "sleep:60"}, timeout_ms=1500, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == ("tool_timeout", "maybe")
    assert [e["value"] for e in server.effects() if e["tool"] == "launch"] == ["sleep:60"]


def test_a_deadline_that_has_passed_starts_nothing(launch):
    server = launch()
    assert server.pins
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "x"}, seconds=-1)
    assert (failed.value.code, failed.value.happened) == ("tool_timeout", "no")
    assert mcp.processes() == []


@pytest.mark.parametrize("command", [["/nonexistent/server"], ["/bin/false"], ["/bin/echo", "not a message"]])
def test_a_server_that_does_not_come_up_is_unreachable_and_not_tried_in_a_storm(launch, command):
    server = launch()
    assert server.pins
    launch(command=command)
    for _ in range(2):
        with pytest.raises(TransportFailed) as failed:
            server.call("look", {"value": "x"})
        assert (failed.value.code, failed.value.happened) == ("tool_unreachable", "no")
    assert "the next try is not due yet" in failed.value.detail


def test_an_unknown_launcher_and_a_wrong_file_refuse_before_anything_starts(launch, settings):
    server = launch()
    contract = {"transport": {"launcher": "other"}}
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "x"}, **contract)
    assert (failed.value.code, failed.value.happened) == ("launcher_unknown", "no")
    launch('secrets = {TOKEN = "not-there"}')
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "x"})
    assert (failed.value.code, failed.value.happened) == ("launcher_invalid", "no")
    assert mcp.processes() == []
    Path(settings.PLACET_LAUNCHERS).write_text("launchers = 1")
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "x"})
    assert (failed.value.code, failed.value.happened) == ("launcher_invalid", "no")


@pytest.mark.parametrize("size", [2 << 20, 20 << 20])
def test_a_result_past_the_cap_is_withheld_and_the_next_call_works(launch, size):
    server = launch()
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": f"big:{size}"})
    assert (failed.value.code, failed.value.happened) == ("tool_result_too_large", "maybe")
    assert server.call("look", {"value": "small"}).is_error is False


def test_text_becomes_structure_only_where_the_contract_says_so(launch):
    server = launch()
    assert server.call("bare", {"value": '{"a": 1}'}).content["structured"] is None
    agreed = {"transport": {"text": "json"}}
    assert server.call("bare", {"value": '{"a": 1}'}, **agreed).content["structured"] == {"a": 1}
    for text in ('{"a": 1, "a": 2}', "not json"):
        with pytest.raises(TransportFailed) as failed:
            server.call("bare", {"value": text}, **agreed)
        assert (failed.value.code, failed.value.happened) == ("tool_result_malformed", "maybe")


def test_a_tool_that_is_not_as_approved_is_blocked(launch):
    server = launch()
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "x"}, transport={"definition": "sha256:" + "1" * 64})
    assert (failed.value.code, failed.value.happened) == ("tool_drifted", "no")
    assert server.effects() == []


def test_a_contract_without_a_pin_calls_nothing(launch):
    server = launch()
    contract = server.contract("look")
    del contract.content["transport"]["definition"]
    scope = transport.Scope(server.workspace, "development", server.release)
    with pytest.raises(TransportFailed) as failed:
        transport.invoke(contract, {}, key="k", deadline=time.monotonic() + 9, scope=scope, correlation_id="c")
    assert (failed.value.code, failed.value.happened) == ("tool_unpinned", "no")
    assert mcp.processes() == []


def test_a_tool_that_changes_while_running_is_blocked_at_once_and_the_others_go_on(launch):
    server = launch()
    server.call("look", {"value": "before"})
    server.call("change", {"description": "Now it sends everything to me."})
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "after"})
    assert failed.value.code == "tool_drifted"
    assert server.call("put", {"value": "other"}).is_error is False
    assert [effect["value"] for effect in server.effects()] == ["before", "other"]


def test_a_tool_that_changes_without_notice_is_found_when_the_list_is_too_old(launch, monkeypatch):
    server = launch()
    server.call("look", {"value": "before"})
    server.call("change_quietly", {"description": "Now it sends everything to me."})
    assert server.call("look", {"value": "still trusted"}).is_error is False
    monkeypatch.setattr(connection, "STALE_SECONDS", 0.0)
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "after"})
    assert failed.value.code == "tool_drifted"


def test_a_running_server_is_listed_again_and_again(launch, monkeypatch):
    monkeypatch.setattr(connection, "REFRESH_SECONDS", 0.05)
    server = launch()
    server.call("look", {"value": "x"})
    (conn,) = mcp._connections.values()
    until(lambda: conn.listings >= 4)


def test_a_changed_launcher_gets_a_new_process(launch):
    server = launch()
    first = server.call("meta").content["structured"]["pid"]
    launch('env = {A = "1"}')
    told = server.call("meta").content["structured"]
    assert (told["pid"] != first, told["environment"]["A"]) == (True, "1")


def test_idle_servers_make_room_and_busy_ones_do_not(launch, monkeypatch):
    monkeypatch.setattr(mcp, "MOST_PROCESSES", 1)
    server = launch()
    first = server.call("meta").content["structured"]["pid"]
    second = server.call("meta", release="sha256:other").content["structured"]["pid"]
    until(lambda: not alive(first))
    (server.place / "gate").touch()
    waiting = threading.Thread(target=server.call, args=("put", {"value": "x"}), kwargs={"release": "sha256:other"})
    waiting.start()
    until((server.place / "acted-put").exists)
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "y"})
    assert (failed.value.code, failed.value.happened) == ("tool_busy", "no")
    (server.place / "gate").unlink()
    waiting.join()
    assert alive(second)


def test_closing_ends_every_server_even_one_that_does_not_listen(launch):
    server = launch()
    assert server.pins
    pids = [server.call("meta").content["structured"]["pid"], server.call("deaf").content["structured"]["pid"]]
    with pytest.raises(TransportFailed):
        launch(command=["/bin/sleep", "60"]).call("look", {"value": "x"}, seconds=0.2)
    pids += [c.wire.pid for c in mcp._connections.values()]
    transport.close()
    assert [pid for pid in pids if alive(pid)] == []


def test_servers_die_with_a_gateway_that_is_killed(launch, settings):
    server = launch()
    pin = server.pins["meta"]["digest"]
    program = f"""
import os, time, uuid
from dataclasses import dataclass
from django.conf import settings
settings.configure(PLACET_LAUNCHERS={settings.PLACET_LAUNCHERS!r}, PLACET_HOME="/nonexistent", BASE_DIR="/",
    PLACET_UPSTREAM_CALLS_PER_PROCESS=6)
from gateway import transport
class Contract:
    kind, name = "tool", "meta"
    content = {{"transport": {{"kind": "mcp", "launcher": "effects", "tool": "meta", "definition": {pin!r}}}}}
scope = transport.Scope(uuid.uuid4(), "development", "r")
result = transport.invoke(Contract, {{}}, key="k", deadline=time.monotonic() + 30, scope=scope, correlation_id="c")
print(result.content["structured"]["pid"], flush=True)
time.sleep(60)
"""
    gateway = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(gateway.stdout.readline())
    assert alive(pid)
    gateway.kill()
    gateway.wait()
    gateway.stdout.close()
    until(lambda: not alive(pid))


def test_a_forked_process_starts_servers_of_its_own(launch):
    server = launch()
    mine = server.call("meta").content["structured"]["pid"]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            told = server.call("meta").content["structured"]["pid"]
            os.write(writer, str(told).encode())
            transport.close()
        finally:
            os._exit(0)
    os.close(writer)
    theirs = int(os.read(reader, 20))
    os.waitpid(child, 0)
    os.close(reader)
    assert theirs != mine
    assert server.call("meta").content["structured"]["pid"] == mine


def test_the_real_git_server_reads_a_repository(launch, tmp_path):
    repository = tmp_path / "repository"
    identity = ["-c", "user.name=Alice", "-c", "user.email=alice@example.com"]
    subprocess.run(["git", "init", "-q", repository], check=True)
    subprocess.run(
        ["git", "-C", repository, *identity, "commit", "-q", "--allow-empty", "-m", "First words"], check=True
    )
    count = '"GIT_CONFIG_COUNT" = "1", "GIT_CONFIG_KEY_0" = "safe.directory", "GIT_CONFIG_VALUE_0" = "*"'
    server = launch(
        f"env = {{{count}}}", command=[str(PYTHON), "-m", "mcp_server_git", "--repository", str(repository)]
    )
    pins = definitions.fetch("effects")
    assert len(pins) == 12
    pin = {"tool": "git_log", "definition": pins["git_log"]["digest"]}
    result = server.call("look", {"repo_path": str(repository)}, transport=pin)
    assert "First words" in result.content["content"][0]["text"]
    assert (result.is_error, result.content["structured"]) == (False, None)
    refused = server.call("look", {"repo_path": "/"}, transport=pin)
    assert refused.is_error is True


def test_definitions_of_a_server_that_does_not_answer_are_not_guessed(launch):
    launch(command=["/bin/false"])
    with pytest.raises(definitions.DefinitionsUnavailable, match="effects"):
        definitions.fetch("effects")


def test_a_pin_covers_name_description_and_both_schemas():
    definition = {"name": "a", "description": "b", "inputSchema": {"type": "object"}, "outputSchema": None}
    pin = definitions.digest(definition)
    assert definitions.digest(definition | {"annotations": {"readOnlyHint": True}}) == pin
    for name, value in (("name", "x"), ("description", None), ("inputSchema", {}), ("outputSchema", {})):
        assert definitions.digest(definition | {name: value}) != pin


def test_an_operator_lists_the_pins_of_a_launcher_and_calls_nothing(launch, capsys):
    from django.core.management import CommandError, call_command

    server = launch()
    pins = server.pins
    call_command("pin_definitions", "effects")
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert lines == {name: tool["digest"] for name, tool in pins.items()}
    call_command("pin_definitions", "effects", "--json")
    assert json.loads(capsys.readouterr().out) == pins
    assert server.effects() == []
    with pytest.raises(CommandError, match=r"add \[launchers.other\]"):
        call_command("pin_definitions", "other")
