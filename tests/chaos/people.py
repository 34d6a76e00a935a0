"""The people around the load: who approves and settles, who changes a release, and who keeps checkpoints outside."""

import contextlib
import time

import httpx2
import psycopg

from tests.chaos.evidence import Asked

# What an operator has to look into: nobody can tell what became of it, and Placet may not guess.
_UNKNOWN = """
SELECT c.id, coalesce(u.key, c.key) AS value, v.content #>> '{transport,tool}' AS tool
FROM gateway_call c LEFT JOIN agents_run u ON u.id::text = c.run ->> 'id'
JOIN (SELECT workspace_id, digest, convert_from(content, 'UTF8')::jsonb AS content FROM registry_version) v
    ON v.workspace_id = c.workspace_id AND v.digest = c.tool_digest
WHERE c.workspace_id = %s AND c.state = 'unknown' AND NOT c.again AND c.effect = 'unsafe'
"""
_DEAD = """
SELECT s.id FROM agents_step s JOIN agents_run r ON r.id = s.run_id
WHERE r.workspace_id = %s AND r.state = 'waiting' AND r.wait = 'person' AND s.state = 'dead'
"""
_OPEN = "SELECT id, digest FROM gateway_hold WHERE workspace_id = %s AND state = 'open'"


def reviewing(load, chance, end):
    """bob, who approves most of what is held."""
    client = load.person("bob")
    for pk, digest in _found(load, end, _OPEN):
        verdict = "approvals" if chance.random() < 0.9 else "rejections"
        load.ask(client, Asked(str(pk), kind="verdict"), f"holds/{pk}/{verdict}/", {"digest": digest})


def operating(load, chance, end):
    """olga, who looks at the tool's own log and says what happened, and gives dead steps another chance."""
    client = load.person("olga")
    for pk, value, tool in _found(load, end, _UNKNOWN):
        happened = any((one.value, one.tool) == (value, tool) for one in load.site.done())
        body = {"outcome": "happened" if happened else "did_not_happen"}
        load.ask(client, Asked(str(pk), kind="settlement"), f"tool-calls/{pk}/settlements/", body)


def requeueing(load, chance, end):
    """olga once more, with the dead letters."""
    client = load.person("olga")
    for (pk,) in _found(load, end, _DEAD):
        load.ask(client, Asked(str(pk), kind="requeue"), f"steps/{pk}/requeues/", {})


def releasing(load, chance, end):
    """alice proposes a new release again and again, bob approves, olga activates; and nobody gets ahead of that."""
    alice, bob, olga = (load.person(name) for name in ("alice", "bob", "olga"))
    content, number = None, 0
    while not end.wait(chance.uniform(1, 4)):
        with contextlib.suppress(httpx2.HTTPError, KeyError, ValueError, IndexError):
            if content is None:
                query = {"workspace": load.site.scene["slug"], "kind": "agent", "name": "churn"}
                found = alice.get("/api/v1/versions/", params=query).json()["results"][0]
                content = alice.get(f"/api/v1/versions/{found['id']}/").json()["content"]
            number += 1
            _release(load, alice, bob, olga, content | {"description": f"Release {number}."}, chance)


def keeping(load, chance, end):
    """dave, who keeps every checkpoint that he gets to see, over HTTP and as the file outside the database."""
    path = load.site.home / "checkpoints" / f"{load.site.workspace}.note"
    load.site.people["dave"] = load.person("dave")
    while not end.wait(0.2):
        with contextlib.suppress(OSError):
            _keep(load.notes["file"], path.read_text())
        _keep(load.notes["http"], load.site.note())


def _release(load, alice, bob, olga, content, chance):
    def post(client, path, body):
        asked = Asked(f"{path} {content['description']}", kind="registry")
        return load.ask(client, asked, path, body)

    place = {"workspace": load.site.scene["slug"]}
    version = post(alice, "versions/", place | {"kind": "agent", "name": "churn", "content": content}).body
    proposal = post(alice, "proposals/", {"version": version["id"], "environment": "development"}).body
    path, verdict = f"proposals/{proposal['id']}/approvals/", {"digest": version["digest"]}
    activation = {"proposal": proposal["id"], "environment": "development"}
    for who, client, where, body in (("alice", alice, path, verdict), ("olga", olga, "activations/", activation)):
        if post(client, where, body).status in (200, 201):
            load.wrong.append(f"I8 {who} was let through at {where} before anybody had approved {version['digest']}")
    post(bob, path, verdict)
    activated = post(olga, "activations/", activation).body
    until = time.monotonic() + 20
    while activated.get("state") in ("requested", "published") and time.monotonic() < until:
        time.sleep(0.3)
        with contextlib.suppress(httpx2.HTTPError, ValueError):
            activated = olga.get(f"/api/v1/activations/{activated['id']}/").json()
    load.counts[f"release {activated.get('state', 'not asked for')}"] += 1


def _found(load, end, statement):
    """Yield the rows of a query again and again, each once in a while, whatever becomes of the database."""
    connection, lately = None, {}
    while not end.wait(0.3):
        try:
            if connection is None:
                connection = load.site.connect()
            rows = connection.execute(statement, [load.site.workspace]).fetchall()
        except psycopg.Error:
            connection = None
            continue
        for row in rows:
            if time.monotonic() - lately.get(row[0], 0) > 3:
                lately[row[0]] = time.monotonic()
                yield row


def _keep(notes, text):
    if text and (not notes or notes[-1] != text):
        notes.append(text)
