"""An agent's calls on a database of its own, whose disk fills up: `python -m tests.chaos.full`, one JSON order a line.

{"call": [keys]} makes calls of `pay` and answers [status, document] for each; {"check": true} tells what is wrong.
"""

import json
import os
import sys
from pathlib import Path

import django

django.setup()

from django.db import connections  # noqa: E402
from django.test import Client  # noqa: E402

from audit import fsck, verify  # noqa: E402
from tests.audit import trails  # noqa: E402
from tests.gateway import conftest, stage  # noqa: E402

LIVE = {name: stage.TOOLS[name] for name in ("pay", "look")}


def main():
    """Bring a workspace to life, then take orders."""
    scene = conftest._stage()
    scene.live(LIVE)
    client = Client(headers={"Authorization": f"Bearer {scene.key()}"}, raise_request_exception=False)
    print(json.dumps({"workspace": str(scene.workspace.pk)}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        said = [call(client, key) for key in order["call"]] if "call" in order else check(scene)
        print(json.dumps(said), flush=True)


def call(client, key):
    """Make one call, as the agent does."""
    body = {"name": "pay", "arguments": {"value": key}}
    answer = client.post("/api/v1/tool-calls/", body, content_type="application/json", headers={"Idempotency-Key": key})
    return [answer.status_code, answer.json()]


def check(scene):
    """Return what is wrong with the trail and with what the tools did, each as a sentence."""
    for connection in connections.all():
        connection.close()
    workspace, wrong = scene.workspace.pk, []
    trails.publish(workspace)
    wrong += fsck.check(workspace).problems
    pinned = [verify.read_key(trails.key_of(workspace))]
    verify.verify_export(trails.file(trails.exported(workspace)), verify.Evidence(pinned, [], []))
    decided = stage.query(
        """SELECT c.key, count(r.id) FROM gateway_attempt a JOIN gateway_call c ON c.id = a.call_id
           LEFT JOIN audit_record r ON r.id = a.decided_record AND a.verdict = 'allow'
           WHERE c.workspace_id = %s GROUP BY c.key""",
        workspace,
    )
    allowed = dict(decided)
    done = [json.loads(line) for line in Path(os.environ["STAGE_LOG"]).read_text().splitlines()]
    for value in {effect["value"] for effect in done}:
        own = [effect for effect in done if effect["value"] == value]
        if len(own) > allowed.get(value, 0):
            wrong.append(f"I1: {value} acted {len(own)} times, by {allowed.get(value, 0)} decisions")
        if len({effect["key"] for effect in own}) != 1:
            wrong.append(f"I5: {value} acted under several keys")
    return wrong


if __name__ == "__main__":
    main()
