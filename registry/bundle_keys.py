"""The key that signs bundles: a private half that only the bundler reads, and the public halves that PDPs pin.

`bundle.key` is one PEM file, mode 0600. `bundle.pub` holds one or more PEM blocks: two while a new key takes over.
"""

import contextlib
import os
import re
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def signing(directory: Path) -> ECKey:
    """Return the private key in `directory`, made with its public half if there is neither.

    :raises FileNotFoundError: only the public half is there: restore the private one, or remove both.
    """
    private, public = directory / "bundle.key", directory / "bundle.pub"
    if not private.exists() and not public.exists():
        _make(private, public)
    return ECKey.import_key(private.read_text())


def pinned(directory: Path) -> list[ECKey]:
    """Return the public keys in `directory`; none if there is no file."""
    try:
        text = (directory / "bundle.pub").read_text()
    except FileNotFoundError:
        return []
    return [ECKey.import_key(block) for block in _BLOCK.findall(text)]


def _make(private: Path, public: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    open_half = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _write_once(private, secret, mode=0o600):
        _write_once(public, open_half, mode=0o644)


def _write_once(path: Path, raw: bytes, *, mode: int) -> bool:
    """Write a whole file, or leave the one that another process wrote first. Say whether it is ours."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    ours = False
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(aside)
        ours = True
    aside.unlink()
    return ours
