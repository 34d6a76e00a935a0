"""The one event loop of this process on which all tool servers' clients live, and the way there from any thread."""

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")
_lock = threading.Lock()
_running: tuple[BlockingPortal, AbstractContextManager[BlockingPortal]] | None = None
_inherited: list[object] = []
_endings: list[Callable[[], Awaitable[None]]] = []


def get() -> BlockingPortal:
    """Return the portal; its thread starts with the first use."""
    global _running
    with _lock:
        if _running is None:
            manager = start_blocking_portal(name="tool clients")
            _running = (manager.__enter__(), manager)
        return _running[0]


def call(function: Callable[[], Awaitable[T]], *, timeout: float) -> T:
    """Run `function` on the event loop and wait for it at most `timeout` seconds, after which it is cancelled.

    :raises TimeoutError: it took longer.
    """
    future = get().start_task_soon(function)
    try:
        return future.result(max(timeout, 0.0))
    except (CancelledError, asyncio.CancelledError) as error:
        raise TimeoutError from error
    except BaseException:
        # Its own failure, our time-out, or an interruption of this thread: nobody waits for the answer any more.
        future.cancel()
        raise


def on_close(ending: Callable[[], Awaitable[None]]) -> None:
    """Have `ending` awaited on the event loop before it stops."""
    _endings.append(ending)


def close(*, timeout: float = 10.0) -> None:
    """Run the endings and stop the event loop. A later use starts a new one."""
    global _running
    with _lock:
        running, _running = _running, None
    if running is None:
        return
    portal, manager = running
    for ending in _endings:
        future = portal.start_task_soon(ending)
        try:
            future.result(timeout)
        except TimeoutError:
            future.cancel()
    manager.__exit__(None, None, None)


def _forget() -> None:
    # The child of a fork has no such thread, and the parent's servers are not its own.
    global _running, _lock
    _inherited.append(_running)
    _running = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
atexit.register(close)
