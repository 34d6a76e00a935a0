"""PURE but for files: how a key gets to its place, whole and durable. Evaluators sign nothing and load no Django."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_once(path: Path, text: str, *, mode: int) -> bool:
    """Write a whole, durable file, or leave the one that another process wrote first. Say whether it is ours."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    ours = False
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(aside)
        ours = True
    aside.unlink()
    return ours


def replace(path: Path, text: str, *, mode: int) -> None:
    """Put a whole, durable file in the place of another: nobody ever reads half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    write_once(aside, text, mode=mode)
    aside.replace(path)
    sync(path.parent)


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Run the block while nobody else on this machine makes a key in a directory."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Make a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
