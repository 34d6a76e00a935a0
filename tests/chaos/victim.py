"""Does deeds in processes that are killed on the way: `python -m tests.chaos.victim`, one JSON order a line.

An order names a deed (tests/chaos/deeds) and what `prepare` returned; with `point` where to die, and with `skip` how
often to pass that point before. Each order is carried out by a fork of this process, which has everything loaded.
The answer is {"status": how the fork ended, "passed": the points that it passed, in order, "told": why it raised}.
"""

import contextlib
import json
import os
import struct
import sys
import traceback
from pathlib import Path

import django

django.setup()

from django.db import connections  # noqa: E402

from audit import crash  # noqa: E402
from gateway import pdp  # noqa: E402
from gateway.pdp import embedded  # noqa: E402
from gateway.transport import connection  # noqa: E402, F401 - what is slow to load, every child finds loaded
from tests.chaos.deeds import DEEDS, OTHERS  # noqa: E402
from tests.gateway import stage  # noqa: E402, F401 - its tools

ALL = DEEDS | OTHERS


def passing(log, order):
    """Return crash.point, that writes down what it passes and lets its own point be passed so many times before.

    At the point `jump_at` of the order the clock jumps by `jump` seconds (tests/chaos/clock.c).
    """
    point, left = crash.point, [order.get("skip", 0)]

    def pass_or_die(name):
        os.write(log, f"{name}\n".encode())
        if name == order.get("jump_at"):
            Path(os.environ["CLOCK_SHIFT"]).write_bytes(struct.pack("l", order["jump"]))
        if name == crash._AT and left[0]:
            left[0] -= 1
        else:
            point(name)

    return pass_or_die


def carry_out(order, log):
    """Do what the order says, in a process that may die of it."""
    crash._AT = order.get("point", "")
    crash.point = passing(log, order)
    ALL[order["deed"]].do(order)


def main():
    """Carry out the first order here, which warms what every child finds ready; then one after the other in forks."""
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        passed = Path(order["log"])
        passed.write_text("")
        if number == 0:
            ALL[order["deed"]].do(order)
        # No child may speak through a connection of ours, or of another child.
        connections.close_all()
        pdp.engine.cache_clear()
        child = os.fork()
        if child == 0:
            # The evaluators are processes of their own, which outlive a caller: ours serve every child.
            embedded._private[os.getpid()] = embedded._private[os.getppid()]
            log, code = os.open(passed, os.O_WRONLY | os.O_APPEND), 1
            with contextlib.suppress(BaseException):
                try:
                    carry_out(order, log)
                    code = 0
                except BaseException:  # noqa: BLE001 - what it was is told
                    passed.with_suffix(".told").write_text(traceback.format_exc())
            os._exit(code)
        status = os.waitpid(child, 0)[1]
        told = passed.with_suffix(".told")
        answer = {"status": status, "passed": passed.read_text().split(), "told": ""}
        if told.exists():
            answer["told"] = told.read_text()[-3000:]
            told.unlink()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
