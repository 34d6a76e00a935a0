"""pg_dump and pg_restore: which program fits a server, and how it is run. No password is on a command line."""

import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.db import connections

from config.embedded import postgres, processes


class Failed(Exception):
    """The program is not there, or ended with an error; the text has its last words."""


def program(name: str, *, using: str = "default", at_least: int = 0) -> Path:
    """Return `name` in the major version of the server, or else a newer one: an older one refuses the server.

    :param at_least: major version of what wrote the archive; no older program reads it.
    :raises Failed: there is none.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int / 10000")
        server = cursor.fetchone()[0]
    found = {major(path): path for path in _candidates(name)}
    fitting = sorted(major for major in found if major >= max(server, at_least))
    if not fitting:
        there = ", ".join(map(str, sorted(found))) or "none"
        raise Failed(
            f"No {name} fits PostgreSQL {max(server, at_least)} (there: {there}). "
            "Install PostgreSQL's client programs of that version."
        )
    return found[fitting[0]]


def run(path: Path, arguments: Sequence[str], *, using: str = "default") -> None:
    """Run a client program against the database, as its owner. :raises Failed: with its last words."""
    place: Mapping[str, Any] = connections[using].settings_dict
    given = {"HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD", "NAME": "PGDATABASE"}
    variables = {name: str(place[key]) for key, name in given.items() if place.get(key)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        [path, "--no-password", *arguments],
        env=clean | variables,
        capture_output=True,
        text=True,
        check=False,
        # What it writes counts only if we see its end.
        preexec_fn=functools.partial(processes.die_with_parent, signal.SIGKILL),
    )
    if done.returncode:
        raise Failed(f"{path.name} failed: {' / '.join(done.stderr.strip().splitlines()[-3:]) or done.returncode}")


def _candidates(name: str) -> list[Path]:
    installed = shutil.which(name)
    found = [Path(installed)] if installed else []
    try:
        wheel = postgres.program(name)
    except processes.StartFailed:
        return found
    # The wheel's come last, and so win, where both are of one version: they are pinned.
    return [*found, wheel] if wheel.exists() else found


def major(path: Path) -> int:
    """Return the major version of a client program; 0 if it does not say."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)(?:\.\d+)*\s*(?:\(|$)", said)
    return int(found.group(1)) if found else 0
