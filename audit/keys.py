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

from audit import keyfiles


class KeyMissing(RuntimeError):
    """A key file is not there, and must not be made anew here."""


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


def checkpoint(workspace: UUID, *, create: bool = False) -> SigningKey:
    """Return the key of a log. :raises KeyMissing: if there is none and `create` is not set."""
    return _signing(f"checkpoint-{workspace}", log_name(workspace) if create else None)


def receipt() -> SigningKey:
    """Return the key that signs receipts, made on first use."""
    url = urlsplit(settings.PLACET_URL)
    return _signing("receipt", f"{url.netloc}{url.path.rstrip('/')}/receipts")


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


def _signing(stem: str, name_if_new: str | None) -> SigningKey:
    path = _path(settings.PLACET_KEYS, f"{stem}.key")
    try:
        return load(path)
    except KeyMissing:
        if name_if_new and not path.exists():
            text, _ = fresh_signing(name_if_new)
            keyfiles.write_once(path, text, mode=0o600)
            keyfiles.write_once(path.with_suffix(".pub"), load(path).public + "\n", mode=0o644)
        return load(path)


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
