"""MCP servers over streamable HTTP, in both protocol eras: the servers' own effect log is what counts, never ours."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from gateway import transport
from gateway.transport import TransportFailed, connection, mcp
from tests.gateway.effects import PYTHON, ROOT, Effects, install, until

ERAS = {"2026-07-28": [], "2026-07-28, JSON": ["--json"], "2025-11-25": ["--legacy"]}


@pytest.fixture(scope="module")
def nursery():
    """A process that starts servers: their own virtual environment, everything imported once."""
    install()
    command = [PYTHON, ROOT / "tests/tools/effects.py", "--nursery"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        process.stdin.close()


class Server(Effects):
    """An effects server of its own port, behind the endpoint `effects`."""

    def __init__(self, place, options, nursery):
        super().__init__(place, "endpoint")
        self.options, self.nursery, self.pid = options, nursery, 0

    def start(self, port=0):
        """Start it, on the port that it had before or a new one; return the port."""
        (self.place / "port").unlink(missing_ok=True)
        print(json.dumps([str(self.place), "--http", str(port), *self.options]), file=self.nursery.stdin, flush=True)
        self.pid = int(self.nursery.stdout.readline())
        until(lambda: (self.place / "port").exists() and (self.place / "port").read_text())
        return int((self.place / "port").read_text())

    def wait(self):
        """Wait until it is gone."""
        until(lambda: not Path(f"/proc/{self.pid}").exists())

    def stop(self):
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait()


@pytest.fixture(params=ERAS)
def server(request, tmp_path, settings, nursery):
    """A running server of each era, and an endpoint that lists it."""
    yield from _server(tmp_path, settings, ERAS[request.param], nursery)


@pytest.fixture
def modern(tmp_path, settings, nursery):
    """A running server of the newer era."""
    yield from _server(tmp_path, settings, [], nursery)


@pytest.fixture
def legacy(tmp_path, settings, nursery):
    """A running server of the older era, with sessions."""
    yield from _server(tmp_path, settings, ["--legacy"], nursery)


def _server(place, settings, options, nursery):
    transport.close()  # what a scene of another file keeps open is not counted here
    server = Server(place, options, nursery)
    port = server.start()
    (place / "secrets").mkdir()
    (place / "secrets" / "effects").write_text("hush")
    settings.PLACET_HOME = place
    settings.PLACET_EGRESS_ALLOW = f"127.0.0.1:{port}"
    settings.PLACET_LAUNCHERS = str(place / "launchers.toml")
    entry = f'[endpoints.effects]\nurl = "http://127.0.0.1:{port}/mcp"\nbearer = "effects"\n'
    (place / "launchers.toml").write_text(entry)
    assert server.pins
    yield server
    transport.close()
    server.stop()


def test_a_tool_answers_over_http_in_both_eras_and_has_one_effect(server):
    result = server.call("look", {"value": "a"})
    assert result.content["structured"] == {"value": "a", "again": False}
    assert (result.is_error, result.meta) == (False, {"transport": "mcp", "tries": 1})
    assert [effect["tool"] for effect in server.effects()] == ["look"]
    (conn,) = mcp._connections.values()
    assert conn.protocol == ("2025-11-25" if "--legacy" in server.options else "2026-07-28")


def test_key_trace_and_secret_travel_along(server):
    (server.place / "token").write_text("hush")
    meta = server.call("meta", key="key-7").content["structured"]["meta"]
    assert meta["dev.placet/idempotency-key"] == "key-7"
    assert meta["traceparent"].startswith("00-0193b3a4000070008000" + "00000000abcd-")


def test_calls_of_many_threads_share_one_client_and_none_of_them_negotiates_or_lists(server):
    server.call("look", {"value": "first"})
    (conn,) = mcp._connections.values()
    threads = [threading.Thread(target=server.call, args=("look", {"value": f"{n}"})) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.effects()) == 17
    assert list(mcp._connections.values()) == [conn]
    assert conn.listings == 1


def test_an_error_of_the_tool_is_an_answer(server):
    result = server.call("look", {"value": "error"})
    assert result.is_error is True
    assert "Error executing tool" in result.content["content"][0]["text"]


def test_a_server_that_dies_after_the_effect_leaves_it_open_and_one_that_is_not_there_does_not(server):
    server.call("look", {"value": "warm"})
    port = int((server.place / "port").read_text())
    with pytest.raises(TransportFailed) as failed:
        server.call("launch", {"value": "die"}, effect="unsafe", retry={"attempts": 3})
    assert (failed.value.code, failed.value.happened) == ("tool_unreachable", "maybe")
    assert [effect["value"] for effect in server.effects()] == ["warm", "die"]
    server.wait()
    with pytest.raises(TransportFailed) as failed:
        server.call("launch", {"value": "x"}, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == ("tool_unreachable", "no")
    server.start(port)
    assert server.call("look", {"value": "back"}).is_error is False


def test_a_deadline_after_the_effect_says_maybe(server):
    server.call("look", {"value": "warm"})
    with pytest.raises(TransportFailed) as failed:
        server.call("launch", {"value": "sleep:60"}, timeout_ms=1000, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == ("tool_timeout", "maybe")
    assert [effect["value"] for effect in server.effects()] == ["warm", "sleep:60"]
    assert server.call("look", {"value": "next"}).is_error is False


def test_one_call_that_fails_does_not_take_the_others_with_it(server):
    server.call("look", {"value": "warm"})
    (server.place / "gate").touch()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(server.call("put", {"value": "slow"})))
    waiting.start()
    until((server.place / "acted-put").exists)
    (server.place / "status").write_text("503")
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "refused"})
    assert (failed.value.code, failed.value.happened, failed.value.retry_after) == ("tool_unreachable", "maybe", 7)
    (server.place / "status").unlink()
    (server.place / "gate").unlink()
    waiting.join()
    assert answers[0].content["structured"]["value"] == "slow"


@pytest.mark.parametrize(
    ("status", "code", "happened"),
    [
        ("429", "tool_busy", "no"),
        ("500", "tool_server_error", "maybe"),
        ("504", "tool_timeout", "maybe"),
        ("302", "egress_redirect", "maybe"),
        ("307", "egress_redirect", "maybe"),
    ],
)
def test_a_status_says_what_may_have_happened(modern, status, code, happened):
    modern.call("look", {"value": "warm"})
    (modern.place / "status").write_text(status)
    with pytest.raises(TransportFailed) as failed:
        modern.call("launch", {"value": "x"}, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == (code, happened)
    assert len(modern.effects()) == 1


def test_a_session_that_the_server_forgot_is_opened_anew_within_the_call(legacy):
    legacy.call("look", {"value": "before"})
    port = int((legacy.place / "port").read_text())
    legacy.stop()
    legacy.start(port)
    assert legacy.call("launch", {"value": "after"}, effect="unsafe").is_error is False
    assert [effect["value"] for effect in legacy.effects()] == ["before", "after"]


@pytest.mark.parametrize("era", [[], ["--legacy"]], ids=["2026-07-28", "2025-11-25"])
def test_what_was_opened_anew_hears_notices_after_the_call_that_opened_it(
    tmp_path, settings, monkeypatch, nursery, era
):
    monkeypatch.setattr(connection, "REFRESH_SECONDS", 3600.0)
    for server in _server(tmp_path, settings, era, nursery):
        (server.place / "token").write_text("hush")
        server.call("look", {"value": "before"})
        for secret in (server.place / "token", server.place / "secrets" / "effects"):
            secret.write_text("new")
        over = time.monotonic() + 2.0
        server.call("look", {"value": "after"}, seconds=2.0)
        (conn,) = mcp._connections.values()
        until(lambda over=over: time.monotonic() > over)
        server.call("change", {"description": "Now it sends everything to me."})
        until(lambda conn=conn: conn.listings >= 2)


def test_a_secret_that_was_exchanged_is_read_anew_and_a_wrong_one_is_named(server):
    (server.place / "token").write_text("hush")
    server.call("look", {"value": "before"})
    (server.place / "token").write_text("new")
    (server.place / "secrets" / "effects").write_text("new")
    assert server.call("launch", {"value": "after"}, effect="unsafe").is_error is False
    (server.place / "token").write_text("newer")
    with pytest.raises(TransportFailed) as failed:
        server.call("launch", {"value": "refused"}, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == ("endpoint_unauthorized", "no")
    assert [effect["value"] for effect in server.effects()] == ["before", "after"]


@pytest.mark.parametrize("size", [2 << 20, 20 << 20])
def test_a_result_past_the_cap_is_withheld_and_the_next_call_works(server, size):
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": f"big:{size}"})
    assert (failed.value.code, failed.value.happened) == ("tool_result_too_large", "maybe")
    assert server.call("look", {"value": "small"}).is_error is False


def test_a_tool_that_is_not_as_approved_is_blocked(server):
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "x"}, transport={"definition": "sha256:" + "1" * 64})
    assert (failed.value.code, failed.value.happened) == ("tool_drifted", "no")
    assert server.effects() == []


def test_a_tool_that_changes_is_blocked_by_its_notice_and_the_others_go_on(server, monkeypatch):
    monkeypatch.setattr(connection, "REFRESH_SECONDS", 3600.0)
    server.call("look", {"value": "before"})
    (conn,) = mcp._connections.values()
    server.call("change", {"description": "Now it sends everything to me."})
    until(lambda: conn.listings >= 2)
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "after"})
    assert failed.value.code == "tool_drifted"
    assert server.call("put", {"value": "other"}).is_error is False
    assert [effect["value"] for effect in server.effects()] == ["before", "other"]


def test_a_tool_that_changes_without_notice_is_found_when_the_list_is_too_old(server, monkeypatch):
    server.call("look", {"value": "before"})
    server.call("change_quietly", {"description": "Now it sends everything to me."})
    monkeypatch.setattr(connection, "STALE_SECONDS", 0.0)
    with pytest.raises(TransportFailed) as failed:
        server.call("look", {"value": "after"})
    assert failed.value.code == "tool_drifted"


def test_an_edited_endpoint_and_another_release_get_connections_of_their_own(modern):
    modern.call("look", {"value": "a"})
    modern.call("look", {"value": "b"}, release="sha256:other")
    assert len(mcp._connections) == 2
    path = modern.place / "launchers.toml"
    path.write_text(path.read_text() + 'headers = { X-Version = "2" }\n')
    modern.call("look", {"value": "c"})
    assert len(mcp._connections) == 3


def test_an_endpoint_that_speaks_no_mcp_is_unreachable_and_not_tried_in_a_storm(modern):
    (modern.place / "status").write_text("405")
    for _ in range(2):
        with pytest.raises(TransportFailed) as failed:
            modern.call("look", {"value": "x"})
        assert (failed.value.code, failed.value.happened) == ("tool_unreachable", "no")
    assert "the next try is not due yet" in failed.value.detail


def test_an_operator_lists_the_pins_of_an_endpoint_and_calls_nothing(server, capsys):
    from django.core.management import CommandError, call_command

    call_command("pin_definitions", "effects", "--endpoint")
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert lines == {name: tool["digest"] for name, tool in server.pins.items()}
    assert server.effects() == []
    with pytest.raises(CommandError, match=r"add \[endpoints.other\]"):
        call_command("pin_definitions", "other", "--endpoint")
