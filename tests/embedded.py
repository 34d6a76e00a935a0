"""A PostgreSQL of the test run's own: started from a migrated copy that is cached by the hash of the migrations."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from config.embedded import postgres

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".placet-test"
# Loss at a power cut does not matter to a test; a killed process loses nothing without fsync. When a row was committed
# is what tests/chaos asks. Nobody attacks the roles' passwords: their verifiers are made with one round, and each
# connection saves the other 4095.
FAST = {"fsync": "off", "full_page_writes": "off", "track_commit_timestamp": "on", "scram_iterations": "1"}


def migrations_hash() -> str:
    """Return a short hash over every file that shapes the database."""
    digest = hashlib.sha256()
    for path in sorted(
        [
            *ROOT.glob("*/migrations/*.py"),
            *ROOT.glob("*/models.py"),
            *ROOT.glob("*/models/*.py"),
            ROOT / "config/embedded/postgres.py",
            Path(__file__),
        ]
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """Yield a PLACET_HOME with a running, migrated PostgreSQL; it ends with the block."""
    template = _template()
    place = Path(tempfile.mkdtemp(prefix="placet-test-"))
    place.chmod(0o711)
    try:
        subprocess.run(["cp", "-a", f"{template}/.", str(place)], check=True)
        server = _start(place)
        try:
            yield place
        finally:
            server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def environment(place: Path) -> dict[str, str]:
    """Return the variables with which a process uses `place`."""
    return os.environ | {"PLACET_HOME": str(place), "DATABASE_URL": "", "PYTHONPATH": str(ROOT)}


def _template() -> Path:
    CACHE.mkdir(exist_ok=True)
    template = CACHE / f"template-{migrations_hash()}"
    with (CACHE / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if template.exists():
            return template
        place = Path(tempfile.mkdtemp(prefix="placet-template-"))
        place.chmod(0o711)
        try:
            server = _start(place)
            try:
                with psycopg.connect(_superuser(place)) as connection:
                    passwords = {role: _secret(place, f"database_{role}") for role in postgres.ROLES}
                    postgres.create_roles(connection, passwords, database="placet")
                command = [sys.executable, str(ROOT / "manage.py"), "migrate", "-v", "0", "--skip-checks"]
                done = subprocess.run(command, env=environment(place), capture_output=True, text=True, check=False)
                if done.returncode:
                    raise RuntimeError(f"migrate failed:\n{done.stdout[-2000:]}{done.stderr[-6000:]}")
            finally:
                server.stop()
            for old in CACHE.glob("template-*"):
                shutil.rmtree(old, ignore_errors=True)
            subprocess.run(["cp", "-a", str(place), str(template)], check=True)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return template


def _start(place: Path) -> postgres.Server:
    return postgres.start(
        place, place / "sockets", superuser_password=_secret(place, "database_superuser"), settings=FAST
    )


def _superuser(place: Path) -> str:
    password = _secret(place, "database_superuser")
    return postgres.conninfo(place / "sockets", user="postgres", password=password, dbname="postgres")


def _secret(place: Path, name: str) -> str:
    from config.env import Environment

    return Environment(placet_home=place).secret(name)
