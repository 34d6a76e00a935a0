"""The embedded PostgreSQL: private, exclusive, and hard to leave in a broken state."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import psycopg
import pytest

from config.embedded import postgres
from config.embedded.processes import StartFailed

FAST = {"fsync": "off"}


@pytest.fixture
def home():
    # Not pytest's tmp_path: as root the server runs as nobody, who cannot enter root's private directories.
    place = Path(tempfile.mkdtemp(prefix="placet-pg-"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


def start(home):
    return postgres.start(home, home / "sockets", superuser_password="pw", settings=FAST)


def connect(home, user="postgres", password="pw", dbname="postgres"):
    return psycopg.connect(postgres.conninfo(home / "sockets", user=user, password=password, dbname=dbname))


def test_roles_can_work_but_own_nothing_and_wrong_passwords_are_refused(home):
    server = start(home)
    try:
        with connect(home) as connection:
            passwords = {role: f"secret-{role}" for role in postgres.ROLES}
            postgres.create_roles(connection, passwords, database="placet")
            postgres.create_roles(connection, passwords, database="placet")  # again: nothing changes
        with connect(home, "placet_web", "secret-web", "placet") as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("placet_web",)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE mine (id int)")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(home, "placet_web", "wrong", "placet")
    finally:
        server.stop()


def test_no_tcp_listener_and_only_the_owner_reaches_the_socket(home):
    server = start(home)
    try:
        with connect(home) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert (home / "sockets").stat().st_mode & 0o077 == 0
        assert server.data.stat().st_mode & 0o077 == 0
    finally:
        server.stop()


def test_a_second_start_on_the_same_place_is_refused_with_the_remedy(home):
    server = start(home)
    try:
        with pytest.raises(StartFailed, match="Another Placet runs on"):
            start(home)
    finally:
        server.stop()
    start(home).stop()


def test_it_starts_again_after_sigkill_and_over_a_stale_pid_of_another_program(home):
    server = start(home)
    with connect(home) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server.lock.close()
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    server = start(home)
    try:
        with connect(home) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    finally:
        server.stop()


def test_data_of_another_version_is_refused_and_left_alone(home):
    server = start(home)
    server.stop()
    version = server.data / "PG_VERSION"
    original = version.read_text()
    version.write_text("14\n")
    with pytest.raises(StartFailed, match="was made by PostgreSQL 14"):
        start(home)
    version.write_text(original)
    start(home).stop()


def test_secrets_of_another_installation_are_named_as_the_cause(home):
    start(home).stop()
    with pytest.raises(StartFailed, match="does not open"):
        postgres.start(home, home / "sockets", superuser_password="another", settings=FAST)
