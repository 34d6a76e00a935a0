"""More calls than can be carried out: the next one is told so, nothing runs late, and everybody gets a turn."""

import io
import json
import threading
import time
from contextlib import ExitStack

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import DatabaseError, connections

from config import door
from gateway import admission, credentials, pep, shedding
from gateway.admission import Acquaintances, Gate
from gateway.models import Credential
from tests.gateway.stage import DURING, TOOLS, effects, events, fresh, query
from tests.gateway.test_admission import gate_of, until
from tests.world import unrecordable

pytest_plugins = ["tests.shared"]


@pytest.fixture(scope="module")
def application():
    return get_wsgi_application()


@pytest.fixture
def ledger(monkeypatch):
    """A ledger that only tells when it is asked, and nobody known yet."""
    made = shedding.Ledger(later=lambda tell: None)
    monkeypatch.setattr(door, "ledger", made)
    known = Acquaintances()
    for module in (door, admission):
        monkeypatch.setattr(module, "acquaintances", known)
    monkeypatch.setattr("gateway.authentication.acquaintances", known)
    return made


class Front:
    """The web application of a process with few places, and callers in threads of their own."""

    def __init__(self, application, **places):
        self.calls, self.others = gate_of(**places), gate_of(places=1, at_work=1, waiting=0, strangers=1)
        self.stops = gate_of(places=1, at_work=1, waiting=0, strangers=1)
        self.door = door.Door(application, calls=self.calls, stops=self.stops, others=self.others)
        self.answers, self.threads, self.gates = {}, [], []

    def ask(self, bearer, value, *, key=None, name="look", body=None, **members):
        """Make a call and return (status, headers, document)."""
        raw = json.dumps({"name": name, "arguments": {"value": value}} | members).encode()
        return self.send(
            "POST",
            door.CALLS,
            body or io.BytesIO(raw),
            CONTENT_LENGTH=str(len(raw)),
            CONTENT_TYPE="application/json",
            HTTP_AUTHORIZATION=f"Bearer {bearer}",
            HTTP_IDEMPOTENCY_KEY=key or fresh("key"),
        )

    def send(self, method, path, body=None, **environ):
        said = []
        given = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "SERVER_NAME": "placet",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": body or io.BytesIO(),
            "wsgi.errors": io.StringIO(),
        }
        answer = self.door(given | environ, lambda status, headers: said.append((int(status[:3]), dict(headers))))
        raw = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        status, headers = said[0]
        return status, headers, json.loads(raw) if "json" in headers["Content-Type"] else raw

    def begin(self, bearer, value, **more):
        """Make a call from another thread."""

        def work():
            self.answers[value] = self.ask(bearer, value, **more)
            connections.close_all()

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def hold(self, bearer, count=1):
        """Have `count` calls in their tool until `release`; return their values."""
        values = [fresh() for _ in range(count)]
        gate, there = threading.Event(), threading.Semaphore(0)
        self.gates.append(gate)

        def stay():
            there.release()
            assert gate.wait(60)

        for value in values:
            DURING[value] = stay
            self.begin(bearer, value)
        for _ in values:
            assert there.acquire(timeout=60)
        return values

    def release(self):
        for gate in self.gates:
            gate.set()
        for thread in self.threads:
            thread.join()

    def acquaint(self, *bearers):
        """Let each be known: one call that is answered."""
        for bearer in bearers:
            assert self.ask(bearer, fresh())[0] == 200


@pytest.fixture
def front(application, stage, ledger):
    with ExitStack() as stack:

        def make(**places):
            made = Front(application, **places)
            stack.callback(made.release)
            return made

        yield make


def test_the_next_call_is_told_to_come_back_and_did_not_run(front, stage):
    busy, bearer, value, key = front(places=2, waiting=1), stage.key(), fresh(), fresh("key")
    busy.acquaint(bearer)
    held = busy.hold(bearer, 2)
    waits = fresh()
    busy.begin(bearer, waits)
    until(lambda: busy.calls.counts == (2, 0, 1))
    status, headers, problem = busy.ask(bearer, value, key=key)
    assert (status, problem["code"], problem["status"]) == (429, "overloaded", 429)
    assert headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(headers["Retry-After"]) <= door.LONGEST_RETRY
    assert headers["X-Correlation-ID"] == problem["correlation_id"]
    assert effects(value) == []
    assert query("SELECT count(*) FROM gateway_call WHERE key = %s", key) == [(0,)]
    busy.release()
    assert [busy.answers[one][0] for one in [*held, waits]] == [200] * 3
    # The same call, sent again as it was told, is carried out.
    assert busy.ask(bearer, value, key=key)[0] == 200
    assert len(effects(value)) == 1
    assert busy.calls.counts == (0, 0, 0)


def test_it_is_turned_away_the_same_whatever_key_it_shows(front, stage):
    busy, bearer = front(places=1, waiting=0), stage.key()
    busy.acquaint(bearer)
    busy.hold(bearer)
    told = []
    for one in (bearer, "plk_nobody", ""):
        status, headers, problem = busy.ask(one, fresh())
        told.append((status, set(headers), {**problem, "correlation_id": ""}))
    assert told[0][0] == 429
    assert told[1:] == told[:1] * 2


def test_one_agent_that_floods_does_not_keep_another_out(front, stage, own_stage):
    own_stage.live(tools={"look": TOOLS["look"]})
    flood, other = stage.key(), own_stage.key()
    busy = front(places=3, share=2, waiting=2)
    busy.acquaint(flood, other)
    busy.hold(flood, 2)
    waiting = [fresh(), fresh()]
    for value in waiting:
        busy.begin(flood, value)
    until(lambda: busy.calls.counts == (2, 0, 2))
    assert busy.ask(flood, fresh())[2]["code"] == "overloaded"
    value = fresh()
    assert busy.ask(other, value)[0] == 200
    assert len(effects(value)) == 1
    busy.release()
    assert [busy.answers[one][0] for one in waiting] == [200, 200]


def test_a_call_whose_time_passes_in_the_queue_is_not_begun(front, stage):
    busy, bearer, late, key = front(places=1), stage.key(), fresh(), fresh("key")
    busy.acquaint(bearer)
    busy.hold(bearer)
    busy.begin(bearer, late, key=key, timeout_ms=1)
    until(lambda: busy.calls.counts == (1, 0, 1))
    time.sleep(0.005)
    busy.release()
    status, _, problem = busy.answers[late]
    assert (status, problem["code"]) == (504, "deadline_passed")
    assert effects(late) == []
    assert query("SELECT count(*) FROM gateway_call WHERE key = %s", key) == [(0,)]
    assert busy.ask(bearer, late, key=key, timeout_ms=60_000)[0] == 200


def test_a_call_whose_time_passes_while_it_is_decided_is_not_executed(stage, agent, monkeypatch):
    value, request = fresh(), None
    decide = pep.calls.decide

    def slowly(facts, *given, **named):
        decided = decide(facts, *given, **named)
        object.__setattr__(facts.request, "deadline", time.monotonic())
        return decided

    monkeypatch.setattr(pep.calls, "decide", slowly)
    request = stage.request("look", value, deadline=time.monotonic() + 60)
    outcome = pep.call(agent, request, now=stage.now)
    assert (outcome.status, outcome.code, outcome.again) == ("failed", "deadline_passed", True)
    assert effects(value) == []
    assert events(outcome.call) == ["call.decided", "call.failed"]


def test_a_client_that_sends_slowly_keeps_nobody_from_work(front, stage):
    slow, bearer, value = front(places=2, at_work=1), stage.key(), fresh()
    slow.acquaint(bearer)
    sent, asked = threading.Event(), threading.Event()

    class Dripping(io.BytesIO):
        def read(self, *given):
            asked.set()
            assert sent.wait(60)
            return super().read(*given)

    raw = json.dumps({"name": "look", "arguments": {"value": value}}).encode()
    slow.begin(bearer, value, body=Dripping(raw))
    assert asked.wait(60)
    assert slow.ask(bearer, fresh())[0] == 200
    sent.set()
    slow.release()
    assert slow.answers[value][0] == 200


def test_pages_and_calls_do_not_take_each_others_places(front, stage):
    busy, bearer = front(places=1, waiting=0), stage.key()
    busy.acquaint(bearer)
    busy.hold(bearer)
    assert busy.send("GET", "/api/v1/openapi.json")[0] == 200
    with busy.others.enter(admission.STRANGER).held():
        assert busy.send("GET", "/api/v1/openapi.json")[2]["code"] == "overloaded"
        assert busy.send("GET", "/livez")[0] == 200
        busy.release()
        assert busy.ask(bearer, fresh())[0] == 200


def test_a_stop_finds_a_place_when_other_requests_have_taken_all_of_theirs(front, stage):
    busy = front(places=1, waiting=0)
    with busy.others.enter(admission.STRANGER).held():
        assert busy.send("GET", "/api/v1/openapi.json")[0] == 429
        for path in ("/api/v1/stops/", f"/w/{stage.workspace.slug}/stops/"):
            assert busy.send("POST", path)[0] not in (429, 500)
    with busy.stops.enter(admission.STRANGER).held():
        assert busy.send("GET", "/api/v1/openapi.json")[0] == 200


def test_a_stop_whose_own_places_strangers_have_taken_has_what_other_requests_have(front, stage):
    busy, path = front(places=1, waiting=0), "/api/v1/stops/"
    with ExitStack() as flood:
        for _ in range(busy.stops.places):
            flood.enter_context(busy.stops.enter(admission.STRANGER).held())
        assert busy.send("POST", path)[0] not in (429, 500)
        with busy.others.enter(admission.STRANGER).held():
            assert busy.send("POST", path)[0] == 429


def test_a_key_that_was_revoked_takes_no_turns_of_its_agent_any_more(front, stage):
    busy, bearer = front(places=2), stage.key()
    busy.acquaint(bearer)
    shown = f"Bearer {bearer}"
    assert admission.acquaintances.of(shown) != admission.STRANGER
    row = Credential.objects.get(pk=credentials.authenticate(bearer).id)
    credentials.revoke(row, actor=stage.people["adam"], now=stage.now, correlation_id="test")
    assert busy.ask(bearer, fresh())[0] == 401
    assert admission.acquaintances.of(shown) == admission.STRANGER


def test_what_was_turned_away_is_on_record_once_a_window(front, stage, ledger, refusing):
    busy, bearer = front(places=1, waiting=0), stage.key()
    busy.acquaint(bearer)
    busy.hold(bearer)
    for _ in range(3):
        assert busy.ask(bearer, fresh())[0] == 429
    busy.ask("plk_nobody", fresh())  # of no workspace: counted in the metric and the log
    with unrecordable(), pytest.raises(DatabaseError):
        ledger.record(stage.now)
    assert busy.ask(bearer, fresh())[0] == 429
    assert ledger.record(stage.now) == 1
    rows = query(
        "SELECT actor, body FROM audit_record WHERE workspace = %s AND event = 'gateway.load.shed'",
        stage.workspace.pk,
    )
    assert [(actor, json.loads(bytes(body))["data"]["count"]) for actor, body in rows] == [("system:gateway", 4)]
    assert json.loads(bytes(rows[0][1]))["data"]["agents"] == {"steward": 4}
    assert ledger.record(stage.now) == 0


def test_the_gates_of_a_web_process_are_as_it_is_set(settings):
    settings.PLACET_CALLS_PER_PROCESS, settings.PLACET_CALLS_WAITING = 5, 3
    made = door.gates()
    assert isinstance(made["calls"], Gate)
    assert (made["calls"].places, made["calls"].most_waiting, made["calls"].strangers) == (5, 3, 1)
    rest = settings.PLACET_OTHER_REQUESTS
    assert made["others"].places + made["others"].most_waiting + made["stops"].places == rest
    assert made["others"].share < made["others"].places
