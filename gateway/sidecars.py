"""The OPA servers that we run ourselves: one for each environment, on a private socket beside the evaluators.

Each fetches its environment's signed bundle from the registry, keeps it on disk, and goes on deciding while the
registry is down. No secret stands on a command line or in a configuration: OPA reads its token to us from a file, and
of ours to it it knows the digest.
"""

import base64
import ctypes
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from joserfc.jwk import ECKey

from gateway.pdp.opa import BUNDLE
from registry import bundle_keys, bundlefile, policies

POLICIES = tuple(policies.DIRECTORY / "opa" / name for name in ("authz.rego", "mask.rego"))
LONG_POLL_SECONDS = 10  # below the 30 s after which a silent decision point counts as gone
STEADY_SECONDS = 10.0
GRACE_SECONDS = 5.0
_PAUSES = (0.0, 0.5, 2.0, 10.0)  # seconds before the n-th start in a row without a steady time
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sidecar belongs. `workspace`: its slug. `socket`: on which it listens. `name`: that it reports under."""

    workspace: str
    environment: str
    socket: Path
    name: str


class Sidecar:
    """One `opa run --server`, started again when it dies or when what it has to pin changes."""

    def __init__(self, binary: Path, place: Place, *, registry: str) -> None:
        self.place = place
        self._binary = binary
        self._registry = registry
        self._directory: Path = settings.PLACET_HOME / "opa" / place.socket.stem
        self._configuration = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._hasty = 0
        self._due = 0.0

    @property
    def pid(self) -> int | None:
        """The process that serves now, None if none does."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def pin(self, bundle: bytes) -> None:
        """Take the keys that are pinned now, and expect the one that signed `bundle`; start anew if that is news."""
        keys, keyid = bundle_keys.pinned(settings.PLACET_KEYS), key_of(bundle)
        if keyid not in map(bundlefile.key_id, keys):
            log.error("the bundle's key is not pinned", environment=self.place.environment, key=keyid)
            return
        wanted = configuration(
            self.place.workspace,
            self.place.environment,
            name=self.place.name,
            registry=self._registry,
            token=settings.PLACET_HOME / "secrets" / "opa",
            kept=self._directory / "kept",
            keys=keys,
            keyid=keyid,
        )
        text = json.dumps(wanted, indent=1, sort_keys=True)
        if text != self._configuration:
            self._configuration = text
            self.stop()
            self._hasty, self._due = 0, 0.0

    def watch(self) -> None:
        """Start it if it does not run: at once, and after a pause if it dies young again and again."""
        if self._process is not None and self._process.poll() is not None:
            steady = time.monotonic() - self._started > STEADY_SECONDS
            self._hasty = 0 if steady else min(self._hasty + 1, len(_PAUSES) - 1)
            log.warning("opa ended", environment=self.place.environment, code=self._process.returncode)
            self._process, self._due = None, time.monotonic() + _PAUSES[self._hasty]
        if self._process is None and self._configuration and time.monotonic() >= self._due:
            self._start()

    def stop(self) -> None:
        """End it cleanly; after GRACE_SECONDS in any way."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self.place.socket.unlink(missing_ok=True)

    def _start(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = hashlib.sha256(settings.OPA_TOKEN.encode()).hexdigest()
        _write(self._directory / "config.json", self._configuration)
        _write(self._directory / "tokens.json", json.dumps({"system": {"tokens": [token]}}))
        command = [str(self._binary), "run", "--server", "--addr", f"unix://{self.place.socket}"]
        command += ["--unix-socket-perm", "600", "--authentication", "token", "--authorization", "basic"]
        command += ["--config-file", str(self._directory / "config.json"), "--skip-version-check"]
        command += ["--log-level", "error", "--shutdown-grace-period", "2"]
        command += [*map(str, POLICIES), str(self._directory / "tokens.json")]
        # Nothing of our environment: proxies, and the secrets that it may hold.
        environment = {"HOME": str(self._directory), "PATH": os.defpath}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=self._directory,
            preexec_fn=_die_with_parent,
        )
        self._started = time.monotonic()
        log.info("opa started", environment=self.place.environment, pid=self._process.pid)


def configuration(
    workspace: str,
    environment: str,
    *,
    name: str,
    registry: str,
    token: Path,
    kept: Path,
    keys: list[ECKey],
    keyid: str,
) -> dict[str, Any]:
    """Return the configuration of an OPA that serves one environment of a workspace (its slug).

    :param name: under which it reports. :param registry: our address. :param token: file of its key to us.
    :param kept: where it keeps the bundle. :param keyid: the key of `keys` that bundles have to be signed with.
    """
    where = f"{workspace}/{environment}"
    service = {
        "url": f"{registry}/opa",
        "credentials": {"bearer": {"token_path": str(token)}},
        "response_header_timeout_seconds": 5,
    }
    bundle = {
        "service": "placet",
        "resource": f"bundles/{where}",
        # Without the name of one key OPA takes unsigned bundles as well.
        "signing": {"keyid": keyid},
        "persist": True,
        "polling": {
            "min_delay_seconds": 1,
            "max_delay_seconds": 2,
            "long_polling_timeout_seconds": LONG_POLL_SECONDS,
        },
    }
    return {
        "labels": {"name": name},
        "services": {"placet": service},
        "keys": {
            bundlefile.key_id(key): {"algorithm": "ES256", "key": key.as_pem(private=False).decode()} for key in keys
        },
        "bundles": {BUNDLE: bundle},
        "persistence_directory": str(kept),
        "status": {"service": "placet", "partition_name": where},
        "decision_logs": {
            "service": "placet",
            "partition_name": where,
            "mask_decision": "/system/log/mask",
            "drop_decision": "/system/log/drop",
            "reporting": {"min_delay_seconds": 1, "max_delay_seconds": 2},
        },
    }


def key_of(bundle: bytes) -> str:
    """Return the name of the key that a bundle says it is signed with; empty if it says none. Proves nothing."""
    try:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bundle)), mode="r:") as archive:
            member = archive.extractfile(f"/{bundlefile.SIGNATURES}")
            head = json.loads(member.read())["signatures"][0].partition(".")[0] if member else ""
        return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])
    except (OSError, EOFError, KeyError, IndexError, TypeError, ValueError, tarfile.TarError):
        return ""


def _write(path: Path, text: str) -> None:
    aside = path.with_suffix(".new")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    aside.rename(path)


def _die_with_parent() -> None:
    """Let the kernel end it when we end, however we end."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
