"""RFC 6962 trees, signed notes and receipts once more, written for the checks alone: nothing here is the product's."""

import base64
import json
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Wrong(Exception):
    """It is not what it says it is."""


class Note(NamedTuple):
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes


def leaf(body: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\0" + body).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, as RFC 6962 section 2.1 defines it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + root(leaves[:split]) + root(leaves[split:])).digest()


def roots(leaves: Sequence[bytes], sizes: Collection[int]) -> dict[int, bytes]:
    """Return the root over the first n leaves for each n in `sizes` that there are leaves for."""
    found, stack = {}, list[tuple[int, bytes]]()
    for size, leaf_hash in enumerate(leaves, 1):
        stack.append((1, leaf_hash))
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            (width, right), (_, left) = stack.pop(), stack.pop()
            stack.append((2 * width, sha256(b"\1" + left + right).digest()))
        if size in sizes:
            whole = stack[-1][1]
            for _, left in reversed(stack[:-1]):
                whole = sha256(b"\1" + left + whole).digest()
            found[size] = whole
    return found


def note(text: str, keys: Sequence[str]) -> Note:
    """Return what a signed note says. :raises Wrong: none of `keys` (name+id+key) signed it."""
    signed, _, signatures = text.rpartition("\n\n")
    for line in signatures.splitlines():
        _, name, encoded = line.split(" ")
        raw = base64.b64decode(encoded)
        for key in keys:
            if key.split("+")[:2] == [name, raw[:4].hex()] and _signed(key, raw[4:], f"{signed}\n".encode()):
                origin, size, encoded_root = signed.split("\n")[:3]
                return Note(origin, int(size), base64.b64decode(encoded_root))
    raise Wrong(f"no pinned key signed the note {text!r}")


def receipt(text: str, keys: Sequence[str]) -> dict[str, str]:
    """Return what a receipt promises: {"at", "id", "leaf", "workspace"}. :raises Wrong: none of `keys` signed it."""
    form, key_id, payload, signature = text.split(".")
    for key in keys:
        signed = f"{form}.{key_id}.{payload}".encode()
        if form == "placet-receipt-1" and key.split("+")[1] == key_id and _signed(key, _unurl(signature), signed):
            promised: dict[str, str] = json.loads(_unurl(payload))
            return promised
    raise Wrong(f"no pinned key signed the receipt {text!r}")


def _signed(key: str, signature: bytes, message: bytes) -> bool:
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.split("+", 2)[2])[1:])
    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _unurl(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
