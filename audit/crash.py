"""Named places where a fault test can end the process, at every commit and on both sides of every effect."""

import os
import signal

_AT = os.environ.get("PLACET_CRASH_AT", "")


def point(name: str) -> None:
    """End this process by SIGKILL if PLACET_CRASH_AT names this point; else do nothing.

    The list of points is read from the source by the fault tests, so `name` is a literal.
    """
    if name == _AT:
        os.kill(os.getpid(), signal.SIGKILL)
