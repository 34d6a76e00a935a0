"""Keys as files under PLACET_KEYS, mode 0600: never in the database, a bundle or a log.

A signing key is one line, `PRIVATE+KEY+<name>+<id>+<base64 of 0x01 and the 32-byte seed>`, beside it a `.pub` with
the public key `<name>+<id>+<base64 of 0x01 and the 32-byte key>` (c2sp.org/signed-note). The name is the key's for
good: it is what a log is called. Rotation adds lines to `.pub`; signatures name the key by its id.
"""

import base64
import contextlib
import functools
import os
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings


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


def log_name(workspace: UUID) -> str:
    """Return what a new log of `workspace` is called: its address without the scheme."""
    url = urlsplit(settings.PLACET_URL)
    return f"{url.netloc}{url.path.rstrip('/')}/log/{workspace}"


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
    """Return the 32 secret bytes in the file `name`, made on first use."""
    return _secret(settings.PLACET_KEYS / name)


def _signing(stem: str, name_if_new: str | None) -> SigningKey:
    path = settings.PLACET_KEYS / f"{stem}.key"
    if name_if_new and not path.exists():
        seed = Ed25519PrivateKey.generate().private_bytes_raw()
        key = _assemble(name_if_new, seed)
        encoded = base64.b64encode(b"\x01" + seed).decode()
        _write_once(path, f"PRIVATE+KEY+{key.name}+{key.id}+{encoded}\n", mode=0o600)
        _write_once(path.with_suffix(".pub"), _load(path).public + "\n", mode=0o644)
    return _load(path)


@functools.cache
def _load(path: Path) -> SigningKey:
    try:
        text = path.read_text().strip()
    except FileNotFoundError as error:
        raise KeyMissing(
            f"The key {path.name} is missing. Restore it from its safe copy; it cannot be remade."
        ) from error
    try:
        private, word, name, key_id, encoded = text.split("+", 4)
        raw = base64.b64decode(encoded, validate=True)
        key = _assemble(name, raw[1:])
    except ValueError as error:
        raise KeyMissing(f"The key {path.name} is damaged. Restore it from its safe copy.") from error
    if (private, word, raw[:1], key_id) != ("PRIVATE", "KEY", b"\x01", key.id):
        raise KeyMissing(f"The key {path.name} is damaged. Restore it from its safe copy.")
    return key


def _assemble(name: str, seed: bytes) -> SigningKey:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    raw = b"\x01" + private.public_key().public_bytes_raw()
    key_id = sha256(name.encode() + b"\n" + raw).digest()[:4].hex()
    return SigningKey(name, key_id, f"{name}+{key_id}+{base64.b64encode(raw).decode()}", private)


@functools.cache
def _secret(path: Path) -> bytes:
    if not path.exists():
        _write_once(path, secrets.token_hex(32) + "\n", mode=0o600)
    raw = bytes.fromhex(path.read_text().strip())
    if len(raw) != 32:
        raise KeyMissing(f"The key {path.name} is damaged. Restore it from its safe copy.")
    return raw


def _write_once(path: Path, text: str, *, mode: int) -> None:
    """Write a whole, durable file, or leave the one that another process wrote first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(aside)
    aside.unlink()
