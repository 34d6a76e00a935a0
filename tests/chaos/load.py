"""Clients and people who work with Placet while it is under fire, and write down each thing before they ask for it
and after they were answered. What they know of a call they know from the tools' own log and from who wrote the
policies; when Placet does not answer they ask again with the same key.
"""

import json
import random
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.chaos.evidence import Answer, Asked
from tests.chaos.ground import FRUGAL

PATIENCE = 60.0  # seconds for which a client asks again
FINAL = {200, 400, 401, 403, 404, 410, 413, 415, 422}


class Load:
    """All clients of one site. `asked` is what they wrote down; `wrong` is what nobody may ever be told."""

    def __init__(self, site, seed, journal):
        self.site, self.seed = site, seed
        self.asked: list[Asked] = []
        self.wrong: list[str] = []
        self.failures: list[str] = []
        self.notes: dict[str, list[str]] = {"http": [], "file": []}
        self.counts: Counter[str] = Counter()
        self.stopping, self.closing = threading.Event(), threading.Event()
        self._journal, self._lock = journal.open("a"), threading.Lock()
        self._threads: list[threading.Thread] = []
        self._people: list[threading.Thread] = []

    def start(self, clients, people):
        """Start every client and person of these (name, loop) pairs, each in a thread of its own."""
        for crowd, members, end in (
            (self._threads, clients, self.stopping),
            (self._people, people, self.closing),
        ):
            for name, loop in members:
                given = (name, loop, end)
                crowd.append(threading.Thread(target=self._keep_on, args=given, name=name, daemon=True))
                crowd[-1].start()

    def stop(self):
        """Let clients finish what they have begun and begin nothing new."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE + 60)

    def close(self):
        """Send the people home, too."""
        self.closing.set()
        for thread in self._people:
            thread.join(60)
        self._journal.close()

    def client(self, key=None):
        """Return an HTTP client with the key of an agent, or with none."""
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return httpx2.Client(base_url=self.site.url, timeout=30, headers=headers)

    def person(self, name):
        """Return an HTTP client of a person who has signed in, however long that takes."""
        while not self.closing.is_set():
            try:
                return self.site._person(name)
            except (httpx2.HTTPError, AssertionError, KeyError):
                time.sleep(0.3)
        raise TimeoutError(f"{name} could not sign in")

    def note(self, key, expect="", kind="call"):
        """Write down that something will be asked under a key."""
        asked = Asked(key, expect, kind)
        with self._lock:
            self.asked.append(asked)
        return asked

    def ask(self, client, asked, path, body, **headers):
        """Ask once, written down before and after; return the answer."""
        given = {"Idempotency-Key": asked.key} | headers
        if token := client.cookies.get("csrftoken"):
            given["X-CSRFToken"] = token
        self._write({"at": time.time(), "key": asked.key, "path": path, "asks": body})
        try:
            got = client.post(f"/api/v1/{path}", json=body, headers=given)
            told = Answer(got.status_code, got.json(), time.time())
        except (httpx2.HTTPError, ValueError):
            told = Answer(0, {}, time.time())
        asked.answers.append(told)
        self._write({"at": told.at, "key": asked.key, "status": told.status, "told": told.body})
        self.counts[f"{asked.kind} {told.status}"] += 1
        return told

    def insist(self, client, asked, path, body, *, final=FINAL):
        """Ask with the same key until there is a final answer, or for PATIENCE; return the last answer."""
        until = time.monotonic() + PATIENCE
        while True:
            told = self.ask(client, asked, path, body)
            again = told.body.get("again", told.status not in final)
            settled = told.status in final and not again
            if settled or (told.status == 504 and again is False) or time.monotonic() > until:
                return told
            if told.body.get("code", "").startswith("budget_"):
                return told
            time.sleep(0.25)

    def _keep_on(self, name, loop, end):
        chance = random.Random(f"{self.seed}-{name}")
        try:
            loop(self, chance, end)
        except Exception as error:
            self.failures.append(f"{name}: {error!r}")
            raise

    def _write(self, line):
        with self._lock:
            self._journal.write(json.dumps(line) + "\n")
            self._journal.flush()


def calls(load, chance, end):
    """An agent that calls its tools, now and then twice at once with one key."""
    client, pool = load.client(load.site.scene["keys"]["steady"]), ThreadPoolExecutor(2)
    while not end.is_set():
        name = chance.choices(["look", "put", "pay", "launch"], [2, 3, 4, 3])[0]
        asked = load.note(f"{name}-{secrets.token_hex(6)}", "allow")
        body = {"name": name, "arguments": {"value": asked.key}}
        if chance.random() < 0.15:
            list(pool.map(lambda _, a=asked, b=body: load.insist(client, a, "tool-calls/", b), range(2)))
        else:
            load.insist(client, asked, "tool-calls/", body)
        time.sleep(chance.uniform(0, 0.1))


def changing_calls(load, chance, end):
    """An agent whose release changes all the time."""
    client = load.client(load.site.scene["keys"]["churn"])
    while not end.is_set():
        asked = load.note(f"look-{secrets.token_hex(6)}")
        load.insist(client, asked, "tool-calls/", {"name": "look", "arguments": {"value": asked.key}})
        time.sleep(chance.uniform(0.1, 0.5))


def denied_calls(load, chance, end):
    """An agent that asks for what it may not have."""
    client = load.client(load.site.scene["keys"]["steady"])
    while not end.is_set():
        asked = load.note(f"no-{secrets.token_hex(6)}", "deny")
        body = chance.choice(
            [
                {"name": "forbidden", "arguments": {"value": asked.key}},
                {"name": "pay", "arguments": {"valeu": asked.key}},
                {"name": "undo", "arguments": {"value": asked.key}},
            ]
        )
        load.insist(client, asked, "tool-calls/", body)
        time.sleep(chance.uniform(0.05, 0.3))


def held_calls(load, chance, end):
    """An agent that asks for what a person has to decide, and waits for it."""
    client = load.client(load.site.scene["keys"]["steady"])
    while not end.is_set():
        asked = load.note(f"careful-{secrets.token_hex(6)}", "hold")
        body = {"name": "careful", "arguments": {"value": asked.key}}
        load.insist(client, asked, "tool-calls/", body)
        time.sleep(chance.uniform(0.1, 0.5))


def frugal_calls(load, chance, end):
    """An agent that asks for more than its budget in each session, from several threads."""
    client, pool = load.client(load.site.scene["keys"]["frugal"]), ThreadPoolExecutor(4)
    while not end.is_set():
        try:
            opened = client.post("/api/v1/sessions/", json={})
            session = opened.json()["id"]
        except (httpx2.HTTPError, ValueError, KeyError):
            time.sleep(0.3)
            continue

        def one(name, session=session):
            asked = load.note(f"{name}-{secrets.token_hex(6)}")
            body = {"name": name, "arguments": {"value": asked.key}, "session": session}
            load.insist(client, asked, "tool-calls/", body)

        list(pool.map(one, chance.choices(["look", "pay"], k=2 * FRUGAL)))
        time.sleep(chance.uniform(0.1, 0.8))


def runs(load, chance, end):
    """alice, who starts runs, and now and then ends one before its time."""
    client = load.person("alice")
    while not end.is_set():
        agent = chance.choices(["steady", "risky", "asker", "undoer"], [5, 3, 2, 2])[0]
        asked = load.note(f"run-{agent}-{secrets.token_hex(6)}", kind="run")
        place = {"workspace": load.site.scene["slug"], "environment": "development"}
        told = load.insist(client, asked, "runs/", place | {"agent": agent, "goal": asked.key}, final={200, 201})
        if chance.random() < 0.04 and told.body.get("id"):
            time.sleep(chance.uniform(0, 1))
            load.ask(client, Asked(asked.key, kind="cancellation"), f"runs/{told.body['id']}/cancellations/", {})
        time.sleep(chance.uniform(0.1, 0.6))
