"""What every program that we start has in common: it dies with us, and its files are ours."""

import ctypes
import importlib.util
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):
    """An embedded server cannot start; the text says what to do."""


def die_with_parent(sign: signal.Signals) -> None:
    """Ask the kernel to send us `sign` when our parent ends (prctl(2)): nothing may outlive its supervisor."""
    _libc.prctl(_PR_SET_PDEATHSIG, sign)


def package(name: str) -> Path:
    """Return where a wheel is installed, without importing it (an import may have side effects)."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StartFailed(
            f"The wheel of {name} is not installed: run `make install`, or point to a server of your own."
        )
    return Path(spec.origin).resolve().parent
