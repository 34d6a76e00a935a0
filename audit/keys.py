"""Keys as files under PLACET_KEYS, mode 0600: never in the database, a bundle or a log.

A signing key is one line, `PRIVATE+KEY+<name>+<id>+<base64 of 0x01 and the 32-byte seed>`, beside it a `.pub` with
the public key `<name>+<id>+<base64 of 0x01 and the 32-byte key>` (c2sp.org/signed-note). The name is the key's for
good: it is what a log is called. Rotation adds lines to `.pub`; signatures name the key by its id.

A secret is one line of 32 bytes in hex; after a rotation there are more, the newest last. A file that has changed is
read again at once, so no process goes on with what was rotated. docs/operations/keys.md has the procedures.
"""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from audit import crash, keyfiles


class KeyMissing(RuntimeError):
    """A key file is not there, and must not be made anew here."""


class KeyUsed(RuntimeError):
    """A log that seems new has a key that has signed, or may have."""


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key. `name`: whose it is; `id`: four bytes as hex; `public`: its text form."""

    name: str
    id: str
    public: str
    private: Ed25519PrivateKey

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over `message`."""
        return self.private.sign(message)

    def sign_note(self, text: str) -> str:
        """Return `text` (which ends in a newline) as a signed note."""
        signature = base64.b64encode(bytes.fromhex(self.id) + self.sign(text.encode())).decode()
        return f"{text}\n\u2014 {self.name} {signature}\n"


def log_name(workspace: UUID, *, epoch: int = 1) -> str:
    """Return what a new log of `workspace` is called: its address without the scheme, and its epoch after the first."""
    url = urlsplit(settings.PLACET_URL)
    between = "" if epoch == 1 else f"/epoch-{epoch}"
    return f"{url.netloc}{url.path.rstrip('/')}{between}/log/{workspace}"


def checkpoint(workspace: UUID) -> SigningKey:
    """Return the key of a log. :raises KeyMissing: if there is none."""
    return load(_path(settings.PLACET_KEYS, f"checkpoint-{workspace}.key"))


def begin(workspace: UUID) -> SigningKey:
    """Return the key with which a log begins, made if there is none. For the publisher alone, one at a time.

    :raises KeyUsed: it is there, or was, and is not known to have signed nothing.
    """
    if signed(workspace):
        raise KeyUsed(f"The key of log {workspace} is there, or was, and may have signed.")
    stem = f"checkpoint-{workspace}"
    if not (settings.PLACET_KEYS / f"{stem}.key").exists():
        text, key = fresh_signing(log_name(workspace))
        note_fresh(workspace, key)
        _place(stem, text, key)
    return checkpoint(workspace)


def signed(workspace: UUID) -> bool:
    """Say whether the present key of a log has signed, or may have; so counts a lost one whose public half is there."""
    fresh = fresh_path(workspace)
    try:
        present = checkpoint(workspace).id
    except KeyMissing:
        return not fresh.exists() and bool(public(f"checkpoint-{workspace}"))
    return not fresh.exists() or fresh.read_text() != present


def note_fresh(workspace: UUID, key: SigningKey) -> None:
    """Note that a key comes that has signed nothing, before it is in its place."""
    keyfiles.replace(fresh_path(workspace), key.id, mode=0o600)


def note_used(workspace: UUID) -> None:
    """Note that the key of a log has signed, when what it signed is kept."""
    fresh = fresh_path(workspace)
    if fresh.exists():
        fresh.unlink()
        keyfiles.sync(fresh.parent)


def fresh_path(workspace: UUID) -> Path:
    """Return where stands, until its first checkpoint is kept outside, that a log's key has signed nothing."""
    return Path(settings.PLACET_KEYS) / f"checkpoint-{workspace}.fresh"


def receipt() -> SigningKey:
    """Return the key that signs receipts, made on first use."""
    path = _path(settings.PLACET_KEYS, "receipt.key")
    try:
        return load(path)
    except KeyMissing:
        with keyfiles.alone(settings.PLACET_KEYS):
            if not path.exists():
                url = urlsplit(settings.PLACET_URL)
                _place("receipt", *fresh_signing(f"{url.netloc}{url.path.rstrip('/')}/receipts"))
        return load(path)


def public(stem: str) -> list[str]:
    """Return the public keys in `<stem>.pub`, the newest last; none if there is no such file."""
    path = settings.PLACET_KEYS / f"{stem}.pub"
    return [line for line in path.read_text().splitlines() if line] if path.exists() else []


def secret(name: str) -> bytes:
    """Return the newest 32 secret bytes in the file `name`, made on first use."""
    return every_secret(name)[0]


def every_secret(name: str) -> tuple[bytes, ...]:
    """Return the secrets in the file `name` that are still good, the newest first: what is old verifies, no more."""
    path = _path(settings.PLACET_KEYS, name)
    found: tuple[bytes, ...]
    try:
        found = _fresh(path, _read_secrets)
    except KeyMissing:
        if not path.exists():
            keyfiles.write_once(path, fresh_secret(), mode=0o600)
        found = _fresh(path, _read_secrets)
    return found


def secret_id(raw: bytes) -> str:
    """Return what a secret is called where it must be named: the start of its hash."""
    return sha256(raw).hexdigest()[:8]


def fresh_secret() -> str:
    """Return a line with a new secret."""
    return secrets.token_hex(32) + "\n"


def fresh_signing(name: str) -> tuple[str, SigningKey]:
    """Return the text of a new signing key's file, and the key."""
    seed = Ed25519PrivateKey.generate().private_bytes_raw()
    key = _assemble(name, seed)
    encoded = base64.b64encode(b"\x01" + seed).decode()
    return f"PRIVATE+KEY+{key.name}+{key.id}+{encoded}\n", key


def load(path: Path) -> SigningKey:
    """Return the signing key in a file. :raises KeyMissing: it is not there, or damaged."""
    key: SigningKey = _fresh(path, _read_key)
    return key


def _place(stem: str, text: str, key: SigningKey) -> None:
    """Put a new key in its place, its public half first: whatever is signed can be verified."""
    lines = "".join(f"{line}\n" for line in [*public(stem), key.public])
    keyfiles.replace(settings.PLACET_KEYS / f"{stem}.pub", lines, mode=0o644)
    crash.point("audit.keys.listed")
    keyfiles.write_once(settings.PLACET_KEYS / f"{stem}.key", text, mode=0o600)
    crash.point("audit.keys.made")


@lru_cache(maxsize=1000)
def _path(directory: Path, name: str) -> Path:
    return directory / name


# What was read, by path, with what the file was then.
_read: dict[Path, tuple[tuple[int, int, int], Any]] = {}


def _fresh(path: Path, read: Callable[[Path], Any]) -> Any:
    """Return what `read` makes of a file, read again if the file is another. A look costs 2 µs."""
    try:
        now = path.stat()
    except FileNotFoundError as error:
        _read.pop(path, None)
        raise KeyMissing(
            f"The key {path.name} is missing. Restore it from its safe copy; it cannot be remade."
        ) from error
    state = (now.st_mtime_ns, now.st_ino, now.st_size)
    known = _read.get(path)
    if known is None or known[0] != state:
        known = _read[path] = (state, read(path))
    return known[1]


def _read_key(path: Path) -> SigningKey:
    try:
        private, word, name, key_id, encoded = path.read_text().strip().split("+", 4)
        raw = base64.b64decode(encoded, validate=True)
        key = _assemble(name, raw[1:])
    except ValueError as error:
        raise KeyMissing(f"The key {path.name} is damaged. Restore it from its safe copy.") from error
    if (private, word, raw[:1], key_id) != ("PRIVATE", "KEY", b"\x01", key.id):
        raise KeyMissing(f"The key {path.name} is damaged. Restore it from its safe copy.")
    return key


def _read_secrets(path: Path) -> tuple[bytes, ...]:
    try:
        found = tuple(bytes.fromhex(line) for line in reversed(path.read_text().split()))
    except ValueError:
        found = ()
    if not found or any(len(raw) != 32 for raw in found):
        raise KeyMissing(f"The key {path.name} is damaged. Restore it from its safe copy.")
    return found


def _assemble(name: str, seed: bytes) -> SigningKey:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    raw = b"\x01" + private.public_key().public_bytes_raw()
    key_id = sha256(name.encode() + b"\n" + raw).digest()[:4].hex()
    return SigningKey(name, key_id, f"{name}+{key_id}+{base64.b64encode(raw).decode()}", private)
