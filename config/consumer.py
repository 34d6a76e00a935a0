"""Of a message only the name of a task of ours and one text are kept; everything around them is made anew.

Celery trusts what its messages say of themselves: one header that is no number ends the worker, and since the message
was not acknowledged, it comes back to the next one, and again.
"""

import json
from typing import Any
from uuid import uuid4

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer

from config.broker import BROKEN

log = structlog.get_logger(__name__)
LONGEST = 1000  # bytes of a message's body; ours have less than a hundred


class Consumer(CeleryConsumer):
    """Passes on to Celery what asks for a task of ours, in our own words."""

    def create_task_handler(self, *given: Any, **named: Any) -> Any:
        """Return what is called with each message."""
        handle = super().create_task_handler(*given, **named)
        ours = {name for name in self.app.tasks if not name.startswith("celery.")}

        def receive(message: Any) -> None:
            asked = read(message, ours)
            if asked is None:
                log.warning("a message asks for nothing of ours")
                message.ack_log_error(log, self.connection_errors)  # type: ignore[attr-defined]
                return
            write(message, *asked)
            handle(message)

        return receive


def read(message: Any, ours: set[str]) -> tuple[str, list[str]] | None:
    """Return task and arguments of a message, at most one text; None if it asks for no task of `ours`."""
    try:
        task, body = message.headers["task"], message.body
        if task not in ours or len(body) > LONGEST:
            return None
        arguments = json.loads(body)[0]
    except BROKEN:
        return None
    if not isinstance(arguments, list):
        return None
    return task, [one for one in arguments[:1] if isinstance(one, str)]


def write(message: Any, task: str, arguments: list[str]) -> None:
    """Write the message anew, as Celery's protocol 2 has it."""
    pk = str(uuid4())
    headers: dict[str, Any] = dict.fromkeys(("parent_id", "group", "eta", "expires", "origin"))
    headers |= {"lang": "py", "task": task, "id": pk, "root_id": pk, "retries": 0, "timelimit": [None, None]}
    message.headers = headers | {"argsrepr": "", "kwargsrepr": ""}
    message.properties = {"correlation_id": pk}
    message.body = json.dumps([arguments, {}, {}])
    message.content_type, message.content_encoding = "application/json", "utf-8"
