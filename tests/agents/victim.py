"""A process of its own that works on runs, and is killed where an order says so: one child per order.

    python -m tests.agents.victim

Orders are lines of JSON on standard input: {"do": "advance", "step"} or {"do": "start" | "cancel" | "requeue", …},
with "point": where to die. The answer to each is the signal that ended it, 0 if none did. The first order has no
point: it is carried out here, and warms what every child finds ready.
"""

import json
import os
import sys
from uuid import UUID

import django


def main():
    django.setup()
    from django.db import connections

    from gateway import pdp
    from gateway.pdp import embedded

    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        if number == 0:
            carry_out(order)
            print(0, flush=True)
            continue
        # No child may speak through a connection of ours, or of another child.
        connections.close_all()
        pdp.engine.cache_clear()
        child = os.fork()
        if child == 0:
            # The evaluators are processes of their own, which outlive a caller: ours serve every child.
            embedded._private[os.getpid()] = embedded._private[os.getppid()]
            carry_out(order)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)


def carry_out(order):
    """Do what one order asks, in a process that may die of it."""
    from django.utils import timezone

    import tests.gateway.stage  # its tools
    from agents import executor, runs, steps
    from agents.models import Run, Step
    from audit import crash
    from registry.models import Person, Workspace

    assert tests.gateway.stage
    os.environ["STAGE_LOG"] = order["log"]
    crash._AT = order.get("point", "")
    how = {"now": timezone.now(), "correlation_id": "victim"}
    if order["do"] == "advance":
        executor.advance(UUID(order["step"]))
        return
    by = Person.objects.get(pk=order["by"])
    if order["do"] == "start":
        workspace = Workspace.objects.get(pk=order["workspace"])
        runs.start(workspace, environment="development", by=by, **order["run"], **how)
    elif order["do"] == "cancel":
        runs.cancel(Run.objects.get(pk=order["run"]), by=by, **how)
    elif order["do"] == "requeue":
        steps.requeue(Step.objects.get(pk=order["step"]), by=by, now=how["now"])


if __name__ == "__main__":
    main()
