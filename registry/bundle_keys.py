"""The key that signs bundles: a private half that only the bundler reads, and the public halves that PDPs pin.

`bundle.key` is one PEM file, mode 0600. `bundle.pub` holds one or more PEM blocks: two at a rotation. Until
the old key is retired, it stands in `bundle.old.key` and signs every bundle as well: an OPA pins one key by name, and
its operator takes it over to the new one.
"""

import re
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from audit import crash, keyfiles
from audit.refusal import Refusal

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


def older(directory: Path) -> list[ECKey]:
    """Return the private keys that sign beside the newest: one while it is being replaced, else none."""
    path = directory / "bundle.old.key"
    return [ECKey.import_key(path.read_text())] if path.exists() else []


def rotate(directory: Path, told: Callable[[ECKey], None]) -> ECKey:
    """Sign with a new key from now on, and with the present one beside it. Return the new key.

    :param told: puts the new key on record, before any file changes: no rotation goes unrecorded.
    :raises Refusal: key_pending: the one before is not retired yet.
    """
    present, old = signing(directory), older(directory)
    # The same: a rotation was cut off before the new key came to its place.
    if old and old[0].thumbprint() != present.thumbprint():
        raise Refusal("key_pending", "The last rotation is not over: retire the old bundle key first.", status=409)
    secret, open_half = _generate()
    told(ECKey.import_key(secret))
    crash.point("registry.bundle_key.recorded")
    # In this order: whoever reads in between pins both, and signs with either.
    keyfiles.replace(directory / "bundle.pub", (directory / "bundle.pub").read_text() + open_half.decode(), mode=0o644)
    crash.point("registry.bundle_key.pinned")
    keyfiles.replace(directory / "bundle.old.key", (directory / "bundle.key").read_text(), mode=0o600)
    crash.point("registry.bundle_key.kept")
    keyfiles.replace(directory / "bundle.key", secret.decode(), mode=0o600)
    crash.point("registry.bundle_key.rotated")
    return signing(directory)


def retire(directory: Path, told: Callable[[ECKey], None]) -> ECKey | None:
    """Drop the old key, private and public; bundles that it signed are refused from now on. Return it.

    :param told: puts the old key on record as retired, before any file changes.
    """
    newest, gone = signing(directory), next(iter(older(directory)), None)
    if gone is None:
        return None
    if gone.thumbprint() == newest.thumbprint():
        # What a rotation left that was cut off: nothing is retired by tidying it up.
        (directory / "bundle.old.key").unlink()
        return None
    told(gone)
    crash.point("registry.bundle_key.retiring")
    keyfiles.replace(directory / "bundle.pub", newest.as_pem(private=False).decode(), mode=0o644)
    crash.point("registry.bundle_key.unpinned")
    (directory / "bundle.old.key").unlink()
    crash.point("registry.bundle_key.retired")
    return gone


def _make(private: Path, public: Path) -> None:
    secret, open_half = _generate()
    if keyfiles.write_once(private, secret.decode(), mode=0o600):
        keyfiles.write_once(public, open_half.decode(), mode=0o644)


def _generate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    open_half = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return secret, open_half
