"""Makes calls in processes that are killed on the way: `python -m tests.gateway.victim`, one JSON order a line.

Each order is carried out by a fork of this process, which has everything loaded; it answers with how the fork ended.
"""

import json
import os
import sys
from datetime import UTC, datetime

import django

django.setup()

from django.db import connections  # noqa: E402

from audit import crash  # noqa: E402
from gateway import credentials, pdp, pep  # noqa: E402
from gateway.exchange import Request  # noqa: E402
from gateway.pdp import embedded  # noqa: E402
from tests.gateway import stage  # noqa: E402, F401 - registers the tools


def call(order):
    """Make one call as the order says."""
    principal = credentials.principal_of(order["credential"])
    request = Request("tool", order["tool"], {"value": order["value"]}, order["key"], "test")
    return pep.call(principal, request, now=datetime.now(UTC))


def passing(times):
    """Return crash.point, that lets its point be passed so many times before."""
    point, left = crash.point, [times]

    def pass_or_die(name):
        if name == crash._AT and left[0]:
            left[0] -= 1
        else:
            point(name)

    return pass_or_die


def main():
    """Warm up with the first order, then carry out one after the other."""
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        if number == 0:
            while call(order | {"key": os.urandom(8).hex()}).status != "finished":
                pass
            print("ready", flush=True)
            continue
        connections.close_all()
        pdp.engine.cache_clear()
        child = os.fork()
        if child == 0:
            # The evaluators are processes of their own, which outlive a caller: ours serve every child.
            embedded._private[os.getpid()] = embedded._private[os.getppid()]
            crash._AT = order["point"]
            crash.point = passing(order.get("skip", 0))
            os.environ["STAGE_LOG"] = order["log"]
            outcome = call(order)
            os.write(2, f"survived {order['point']}: {outcome}\n".encode())
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
