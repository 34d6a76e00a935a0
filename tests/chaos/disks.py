"""Small disks that can be filled: a tmpfs where we may mount one."""

import contextlib
import ctypes
import os
import tempfile
from pathlib import Path

import pytest

_libc = ctypes.CDLL(None, use_errno=True)
_DETACH = 2


@contextlib.contextmanager
def tmpfs(size):
    """Yield a directory with room for `size` bytes. Where nothing may be mounted: skipped, but not in CI as root."""
    place = tempfile.mkdtemp(prefix="placet-disk-")
    options = f"size={size},mode=0711".encode()
    if _libc.mount(b"tmpfs", place.encode(), b"tmpfs", 0, options):
        os.rmdir(place)
        line = f"no tmpfs can be mounted ({os.strerror(ctypes.get_errno())}): outside CI, full disks are not tried"
        pytest.fail(line) if os.environ.get("CI") == "true" and os.geteuid() == 0 else pytest.skip(line)
    try:
        yield Path(place)
    finally:
        _libc.umount2(place.encode(), _DETACH)
        os.rmdir(place)


def fill(place, leave=0):
    """Take all the room but `leave` bytes; return the file that has it."""
    hog, block = place / "hog", b"x" * 4096
    with hog.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(block)
    if leave:
        os.truncate(hog, max(0, hog.stat().st_size - leave))
    return hog
