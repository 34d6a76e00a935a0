"""Verify an export of the audit trail, offline, without trusting those who made it.

This file needs Python 3.10 or newer and nothing else: copy it anywhere. docs/reference/trail.md says what it checks.

    verify.py EXPORT --key KEY [--checkpoint OLD] [--receipt R] [--values VALUES]

KEY is the log's public key, obtained apart from the export: the key's text, or a file of keys, one a line. A later key
is followed where the log announced it under one that you gave; a key that nobody announced proves nothing. OLD is a
checkpoint, and R a receipt, that you kept since an earlier day. Exit codes: 0 verified, completeness proven by what
you kept; 1 NOT verified; 2 the command or a file cannot be used; 3 the export is sound, completeness not proven.
"""

import argparse
import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, NamedTuple

LONGEST_LINE = 1 << 20
MOST_SIGNATURES = 64
LARGEST_SIZE = 2**53 - 1
EMPTY = hashlib.sha256(b"").digest()
EXPORT = "placet.export/1"
RECORD = "placet.record/1"
VALUE = "placet.value/1"
RECEIPT = "placet-receipt-1"
COMMITMENT = b"placet.commitment/1"
ANNOUNCED = "audit.key.announced"
ANNOUNCEMENT = "placet.key/1"
LONGEST_CHAIN = 1000
_JSON = json.JSONDecoder()  # json.loads would guess the encoding and look for white space: a quarter of the time


class NotVerified(Exception):
    """What was shown is not what the log promised, or cannot be read as it."""


class UnknownSigner(NotVerified):
    """A note is by none of the keys that are trusted."""


class Unusable(NotVerified):
    """What the auditor holds is by a key that was not given, and that the export does not lead to."""


# --- Ed25519 (RFC 8032 section 5.1), verification only ---------------------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]  # extended homogeneous coordinates
_IDENTITY: _Point = (0, 1, 1, 0)


def _add(p: _Point, q: _Point) -> _Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _combine(s: int, p: _Point, k: int, q: _Point) -> _Point:
    """Return s·p + k·q, both at once. Not in constant time: everything here is public."""
    addends = (None, p, q, _add(p, q))
    result = _IDENTITY
    for bit in reversed(range(max(s.bit_length(), k.bit_length()))):
        result = _add(result, result)
        addend = addends[(s >> bit & 1) + 2 * (k >> bit & 1)]
        if addend:
            result = _add(result, addend)
    return result


def _decode(raw: bytes) -> _Point | None:
    """Return the point that 32 bytes encode, or None: not on the curve, or not the one encoding of it."""
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= _P:
        return None
    x2 = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(x2, (_P + 3) // 8, _P)
    if (x * x - x2) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - x2) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encode(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


_BASE = _decode((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether `signature` (64 bytes) over `message` is by the key `public` (32 bytes).

    Keys of small order, under which one signature fits many messages, are refused.
    """
    if len(public) != 32 or len(signature) != 64 or _BASE is None:
        return False
    point, s = _decode(public), int.from_bytes(signature[32:], "little")
    if point is None or s >= _L or _encode(_combine(8, point, 0, point)) == _encode(_IDENTITY):
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    minus = (-point[0] % _P, point[1], 1, -point[3] % _P)
    return hmac.compare_digest(_encode(_combine(s, _BASE, k, minus)), signature[:32])


# --- Merkle tree (RFC 6962 section 2.1; verification as in RFC 9162 section 2.1.3 and 2.1.4) -------------------------


def leaf(body: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + body).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The right edge of a tree: append leaves, ask for the root at any size on the way."""

    def __init__(self, size: int = 0, edge: list[bytes] | None = None) -> None:
        self.size = size
        self.edge = edge or []
        if len(self.edge) != bin(size).count("1"):
            raise NotVerified(f"The export's frontier does not fit a tree of {size} records.")

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf."""
        carry, size = leaf_hash, self.size
        while size & 1:
            carry = node(self.edge.pop(), carry)
            size >>= 1
        self.edge.append(carry)
        self.size += 1

    def root(self) -> bytes:
        """Return the root at the present size."""
        if not self.edge:
            return EMPTY
        root = self.edge[-1]
        for left in reversed(self.edge[:-1]):
            root = node(left, root)
        return root


def included(leaf_hash: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    """Say whether `path` proves that the tree with this size and root has the leaf at `index`."""
    if not 0 <= index < size:
        return False
    at, last, carry = index, size - 1, leaf_hash
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            carry = node(sibling, carry)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            carry = node(carry, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and hmac.compare_digest(carry, root)


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> bool:
    """Say whether `path` proves that the tree of `new` leaves begins with the tree of `old` leaves."""
    if old > new or old < 0:
        return False
    if old == new:
        return not path and hmac.compare_digest(old_root, new_root)
    if old == 0:
        return not path and hmac.compare_digest(old_root, EMPTY)
    if old & (old - 1) == 0:
        path = [old_root, *path]
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    was = now = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            was, now = node(sibling, was), node(sibling, now)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            now = node(now, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and hmac.compare_digest(was, old_root) and hmac.compare_digest(now, new_root)


# --- Keys, checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint) and receipts ---------------------------------


class Key(NamedTuple):
    """A public key: whose it is, its four-byte id, its 32 bytes."""

    name: str
    id: bytes
    public: bytes


class Checkpoint(NamedTuple):
    """What the log signed: which log, how many records, the root over them; and the key's id."""

    origin: str
    size: int
    root: bytes
    key_id: bytes


class Receipt(NamedTuple):
    """The log's promise to hold one record."""

    id: str
    workspace: str
    leaf: bytes
    at: str


def strict_base64(text: str, what: str) -> bytes:
    """Decode the one standard form of `text`. :raises NotVerified: if it is any other."""
    raw = b""
    with contextlib.suppress(ValueError, binascii.Error):
        raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise NotVerified(f"{what} is not in base64.")
    return raw


def read_key(text: str) -> Key:
    """Parse `name+id+key`, the text form of a public key. :raises NotVerified: if it is none."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0] or any(c.isspace() for c in parts[0]):
        raise NotVerified(f"{text[:80]!r} is not a public key: expected name+id+key.")
    raw = strict_base64(parts[2], "The public key")
    key_id = hashlib.sha256(parts[0].encode() + b"\n" + raw).digest()[:4]
    if len(raw) != 33 or raw[0] != 1 or key_id.hex() != parts[1]:
        raise NotVerified(f"The public key of {parts[0]} is damaged, or not an Ed25519 key.")
    return Key(parts[0], key_id, raw[1:])


def open_note(note: str, keys: list[Key]) -> tuple[str, Key]:
    """Return the text of a signed note and the pinned key that signed it.

    :raises NotVerified: if the note has no signature by one of `keys`, or a wrong one.
    """
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    control = any(ord(character) < 32 and character != "\n" for character in note)
    if not separator or not signatures.endswith("\n") or control or signatures.count("\n") > MOST_SIGNATURES:
        raise NotVerified("This is not a signed note.")
    signer = None
    for line in signatures[:-1].split("\n"):
        dash, name, encoded = [*line.split(" "), "", ""][:3]
        if dash != "\u2014" or not name or line != f"\u2014 {name} {encoded}":
            raise NotVerified("The note has a malformed signature line.")
        raw = strict_base64(encoded, "A signature")
        for key in keys:
            if key.name == name and key.id == raw[:4]:
                if not ed25519(key.public, text.encode(), raw[4:]):
                    raise NotVerified(f"The signature of {name} is wrong.")
                signer = signer or key
    if signer is None:
        raise UnknownSigner("No signature is by a key that you gave.")
    return text, signer


def open_checkpoint(note: str, keys: list[Key]) -> Checkpoint:
    """Return what a checkpoint says. :raises NotVerified: if it is malformed or not signed by its log's pinned key."""
    text, signer = open_note(note, keys)
    lines = text[:-1].split("\n")
    if len(lines) != 3:
        raise NotVerified("A checkpoint of this log has three lines: origin, size, root.")
    origin, size, root = lines
    if not size.isascii() or not size.isdigit() or len(size) > 16 or str(int(size)) != size:
        raise NotVerified("The checkpoint's size is not a number.")
    root_hash = strict_base64(root, "The checkpoint's root")
    if len(root_hash) != 32 or int(size) > LARGEST_SIZE:
        raise NotVerified("The checkpoint's size or root cannot be.")
    if signer.name != origin:
        raise NotVerified(f"The checkpoint of {origin} is signed by another key: {signer.name}.")
    return Checkpoint(origin, int(size), root_hash, signer.id)


def open_receipt(token: str, keys: list[Key]) -> Receipt:
    """Return what a receipt promises. :raises NotVerified: if it is malformed or not signed by a pinned key."""
    parts = token.strip().split(".")
    if len(parts) != 4 or parts[0] != RECEIPT:
        raise NotVerified("This is not a receipt.")
    _, key_id, payload, signature = parts
    signed = ".".join(parts[:3]).encode()
    named = [key for key in keys if key.id.hex() == key_id]
    if not named:
        raise NotVerified(f"The receipt is signed by key {key_id}, which you did not give.")
    if not any(ed25519(key.public, signed, _url_base64(signature)) for key in named):
        raise NotVerified("The receipt's signature is wrong.")
    members = canonical(_url_base64(payload), "The receipt")
    try:
        promised = Receipt(members["id"], members["workspace"], bytes.fromhex(members["leaf"]), members["at"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotVerified("The receipt is malformed.") from error
    return promised


def _url_base64(text: str) -> bytes:
    raw = b""
    with contextlib.suppress(ValueError, binascii.Error):
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise NotVerified("The receipt is damaged.")
    return raw


# --- Keys that follow one another ------------------------------------------------------------------------------------


@dataclass
class Link:
    """A key that a log announced under one that was trusted already. `checkpoint` holds the announcement."""

    key: Key
    checkpoint: Checkpoint
    consistency: list[bytes]

    def require(self, newest: Checkpoint) -> None:
        """Refuse an announcement out of another history than the export's. :raises NotVerified:"""
        old = self.checkpoint
        one_log = old.origin == newest.origin
        if not one_log or not consistent(old.size, old.root, newest.size, newest.root, self.consistency):
            raise NotVerified(f"The log does not continue the one in which key {self.key.id.hex()} was announced.")


def follow(chain: Any, workspace: str, given: list[Key]) -> tuple[list[Key], list[Link]]:
    """Return the keys that may be trusted: those given, and each that was announced under one of these before it.

    An announcement is a note by the old key, in a record that a checkpoint by the old key holds. What is by a key that
    nobody trusts is passed over: it makes nothing trusted.
    """
    if not isinstance(chain, list) or len(chain) > LONGEST_CHAIN:
        raise NotVerified("The header's chain of keys is malformed.")
    keys, links = list(given), list[Link]()
    for claim in chain:
        if not isinstance(claim, dict) or set(claim) != {"checkpoint", "consistency", "index", "proof", "record"}:
            raise NotVerified("The header's chain of keys is malformed.")
        with contextlib.suppress(UnknownSigner):
            link = _link(claim, workspace, keys)
            if link.key not in keys:
                keys.append(link.key)
                links.append(link)
    return keys, links


def _link(claim: dict[str, Any], workspace: str, keys: list[Key]) -> Link:
    if not isinstance(claim["checkpoint"], str) or not isinstance(claim["record"], str):
        raise NotVerified("The header's chain of keys is malformed.")
    checkpoint, body = open_checkpoint(claim["checkpoint"], keys), claim["record"].encode()
    index, path = _natural(claim["index"], "An announcement's index"), _hashes(claim["proof"], "A proof")
    if not included(leaf(body), index, checkpoint.size, path, checkpoint.root):
        raise NotVerified("The announcement of a key is not in the log.")
    signer, key = read_announcement(body, workspace, keys)
    if not signer.id == checkpoint.key_id or not key.name == checkpoint.origin:
        raise NotVerified("The announcement of a key is by another key than its checkpoint, or for another log.")
    return Link(key, checkpoint, _hashes(claim["consistency"], "A consistency proof"))


def read_announcement(body: bytes, workspace: str, keys: list[Key]) -> tuple[Key, Key]:
    """Return (the key that announces, the key that is announced) of a record. :raises NotVerified: it does not."""
    record = canonical(body, "The announcement of a key")
    data = record.get("data")
    note = data.get("note") if isinstance(data, dict) else None
    if (record.get("event"), record.get("workspace")) != (ANNOUNCED, workspace) or not isinstance(note, str):
        raise NotVerified("What should announce a key is another record.")
    text, signer = open_note(note, keys)
    form, _, public = text.removesuffix("\n").partition("\n")
    key = read_key(public)
    if form != ANNOUNCEMENT or key.name != signer.name:
        raise NotVerified("The announcement of a key is of another form, or for another log.")
    return signer, key


# --- Export ----------------------------------------------------------------------------------------------------------


def canonical(raw: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object of strings, integers and lists that is in its one canonical form."""
    try:
        value = json.loads(raw)
        form = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise NotVerified(f"{what} is not JSON.") from error
    if form != raw or not isinstance(value, dict):
        raise NotVerified(f"{what} is not in canonical form.")
    return value


def commitment(record: str, path: str, nonce: bytes, value: bytes) -> str:
    """Return the commitment to `value` (canonical JSON), which stands at `path` of a record."""
    parts = (COMMITMENT, record.encode(), path.encode(), nonce, value)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()


@dataclass
class Evidence:
    """What the auditor has from elsewhere."""

    keys: list[Key]
    checkpoints: list[Checkpoint] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    # (record id, path) -> commitment, of values that were handed over beside the export
    values: dict[tuple[str, str], str] = field(default_factory=dict)
    # Checkpoints, as notes, by keys that were not given: the export has to lead to those.
    later: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What an export was shown to be."""

    checkpoint: Checkpoint
    kind: str
    first: int
    records: int = 0
    proven: int = 0  # this many records, from the beginning of the log, are all there and as they were
    notes: list[str] = field(default_factory=list)
    complete: bool = False


def verify_export(file: BinaryIO, evidence: Evidence) -> Report:
    """Check the export in `file` against `evidence`, line by line, in bounded memory.

    :raises NotVerified: naming the first thing that is wrong.
    """
    header = canonical(next(_lines(file), b""), "The export's first line")
    kind = header.get("kind")
    members = {"log": {"first", "frontier"}, "excerpt": {"consistency"}}.get(str(kind), set())
    known = {"format", "kind", "checkpoint", "workspace"} | members
    if header.get("format") != EXPORT or set(header) - {"chain"} != known:
        raise NotVerified(f"The first line is not the header of a {EXPORT} export.")
    if not all(isinstance(header[name], str) for name in ("checkpoint", "workspace")):
        raise NotVerified("The export's header is malformed.")
    keys, links = follow(header.get("chain", []), header["workspace"], evidence.keys)
    checkpoint = open_checkpoint(header["checkpoint"], keys)
    if not checkpoint.origin.endswith("/log/" + header["workspace"]):
        raise NotVerified("The export's workspace is not that of its checkpoint.")
    for link in links:
        link.require(checkpoint)
    kept = [*evidence.checkpoints, *(_held(note, keys) for note in evidence.later)]
    for held in kept:
        if held.origin != checkpoint.origin:
            raise NotVerified(f"The checkpoint that you hold is of another log: {held.origin}.")
        if held.size > checkpoint.size:
            raise NotVerified(
                f"You hold a checkpoint of {held.size} records, the export ends at {checkpoint.size}: "
                "the tail was cut, or the export is older than your checkpoint."
            )
    evidence = replace(evidence, keys=keys, checkpoints=kept, later=[])
    report = Report(checkpoint, str(kind), 0)
    report.notes += [f"Key {link.key.id.hex()} was announced under {link.checkpoint.key_id.hex()}." for link in links]
    records = _Records(evidence, header["workspace"])
    (_verify_log if kind == "log" else _verify_excerpt)(file, header, evidence, report, records)
    records.finish(report)
    return report


def _held(note: str, keys: list[Key]) -> Checkpoint:
    try:
        return open_checkpoint(note, keys)
    except UnknownSigner as error:
        raise Unusable(f"A checkpoint that you hold: {error}") from error


def _verify_log(
    file: BinaryIO, header: dict[str, Any], evidence: Evidence, report: Report, records: "_Records"
) -> None:
    checkpoint = report.checkpoint
    report.first = _natural(header["first"], "The header's first index")
    tree = Tree(report.first, _hashes(header["frontier"], "The header's frontier"))
    held = sorted(evidence.checkpoints, key=lambda one: one.size)
    early = [one for one in held if one.size < report.first]
    held = held[len(early) :]
    for index, body in _numbered(_lines(file), report.first, checkpoint.size):
        _compare(tree, held, report)
        tree.append(records.take(index, body))
    _compare(tree, held, report)
    report.records = tree.size - report.first
    if tree.size != checkpoint.size:
        raise NotVerified(
            f"The export has records up to {tree.size}; its checkpoint has {checkpoint.size}: it was cut."
        )
    if not hmac.compare_digest(tree.root(), checkpoint.root):
        raise NotVerified(
            "The records do not give the checkpoint's root: a record was changed, moved, added or removed."
        )
    begun = report.first == 0 or any(one.size == report.first for one in evidence.checkpoints)
    if early:
        report.notes.append(
            f"A checkpoint that you hold ({early[-1].size} records) lies before the export: not compared."
        )
    if not begun:
        report.notes.append(f"The export begins at record {report.first}; what came before is not in it.")
    report.complete = begun and report.proven > 0


def _verify_excerpt(
    file: BinaryIO, header: dict[str, Any], evidence: Evidence, report: Report, records: "_Records"
) -> None:
    checkpoint, last, ended = report.checkpoint, -1, False
    lines = _lines(file)
    for line in lines:
        proof = canonical(line, "A proof")
        if set(proof) == {"records"}:
            ended = _natural(proof["records"], "The last line") == report.records and next(lines, None) is None
            break
        if set(proof) != {"index", "proof"}:
            raise NotVerified("A line of the excerpt is not a proof.")
        index = _natural(proof["index"], "A proof's index")
        if index <= last:
            raise NotVerified("The records of the excerpt are not in the order of the log.")
        leaf_hash = records.take(index, next(lines, b""))
        path = _hashes(proof["proof"], "A proof")
        if not included(leaf_hash, index, checkpoint.size, path, checkpoint.root):
            raise NotVerified(f"Record {index} is not in the log, or was changed.")
        last, report.records = index, report.records + 1
    if not ended:
        raise NotVerified("The excerpt's last line is missing or wrong: it was cut.")
    earlier = {checkpoint.size: checkpoint.root, **_earlier(header["consistency"], checkpoint)}
    for held in evidence.checkpoints:
        if not hmac.compare_digest(earlier.get(held.size, b""), held.root):
            raise NotVerified(
                f"The excerpt does not show that its log continues the checkpoint of {held.size} records that you "
                "hold: history was rewritten, or the excerpt was not made for this checkpoint."
            )
        report.notes.append(f"The log continues the checkpoint of {held.size} records that you hold.")
    report.notes.append("An excerpt proves what it holds, never that nothing was left out.")


def _earlier(claims: Any, checkpoint: Checkpoint) -> dict[int, bytes]:
    """Return the roots at earlier sizes, each of which the log is proven to continue."""
    roots: dict[int, bytes] = {}
    for claim in claims if isinstance(claims, list) else [None]:
        if not isinstance(claim, dict) or set(claim) != {"proof", "root", "size"}:
            raise NotVerified("The header's consistency proofs are malformed.")
        size, path = _natural(claim["size"], "An earlier size"), _hashes(claim["proof"], "A consistency proof")
        (root,) = _hashes([claim["root"]], "An earlier root")
        ascending = not roots or size > max(roots)
        if not ascending or not consistent(size, root, checkpoint.size, checkpoint.root, path):
            raise NotVerified(f"The header does not prove that the log continues an earlier one of {size} records.")
        roots[size] = root
    return roots


class _Records:
    """Looks at each record once: its form, and whether a receipt or a value speaks of it."""

    def __init__(self, evidence: Evidence, workspace: str) -> None:
        self.workspace = workspace
        self.receipts = {receipt.leaf: receipt for receipt in evidence.receipts}
        self.values = dict(evidence.values)
        self.value_records = {record for record, _ in evidence.values}
        self.met: dict[str, int] = {}

    def take(self, index: int, body: bytes) -> bytes:
        """Return the leaf hash of the record in `body`."""
        try:
            text = str(body, "utf-8")
            record, end = _JSON.raw_decode(text)
            form, workspace, record_id = record["format"], record["workspace"], record["id"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise NotVerified(f"Record {index} is not a record.") from error
        if end != len(text):
            raise NotVerified(f"Record {index} is more than a record.")
        if form != RECORD or workspace != self.workspace:
            raise NotVerified(f"Record {index} is of another format or workspace.")
        leaf_hash = leaf(body)
        receipt = self.receipts.get(leaf_hash)
        if receipt and receipt.id == record_id and receipt.workspace == workspace:
            self.met[receipt.id] = index
        if record_id in self.value_records:
            with contextlib.suppress(RecursionError):
                for path, digest in _commitments(record.get("data"), "/data"):
                    if self.values.get((record_id, path)) == digest:
                        del self.values[record_id, path]
        return leaf_hash

    def finish(self, report: Report) -> None:
        """Note what receipts and values proved. :raises NotVerified: if one of them is not borne out."""
        whole, absent = report.kind == "log" and report.first == 0, 0
        for receipt in self.receipts.values():
            if receipt.id in self.met:
                index = self.met[receipt.id]
                report.notes.append(f"The record of your receipt is there: {receipt.id}, at {index}.")
                report.proven = max(report.proven, index + 1)
            elif whole:
                raise NotVerified(
                    f"You hold a receipt for record {receipt.id} of {receipt.at}, and the export has no such record: "
                    "it was removed or changed, or the export ends before it. Ask for a newer export."
                )
            else:
                absent += 1
                report.notes.append(f"The record of your receipt is NOT among these: {receipt.id} of {receipt.at}.")
        report.complete = not absent and (report.complete or (whole and bool(self.met)))
        for record, path in self.values:
            raise NotVerified(f"The value handed over for {path} of record {record} is not the one that was recorded.")
        if self.value_records:
            report.notes.append("Every value that was handed over is the one that was recorded.")


def _commitments(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if set(value) == {"$sealed"}:
            yield path, str(value["$sealed"])
        for name, member in value.items():
            yield from _commitments(member, f"{path}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for at, member in enumerate(value):
            yield from _commitments(member, f"{path}/{at}")


def _compare(tree: Tree, held: list[Checkpoint], report: Report) -> None:
    """Compare the tree with every checkpoint held of its present size."""
    while held and held[0].size == tree.size:
        if not hmac.compare_digest(held.pop(0).root, tree.root()):
            raise NotVerified(
                f"The first {tree.size} records are not those of the checkpoint that you hold: history was rewritten."
            )
        report.proven = tree.size
        report.notes.append(f"The log continues the checkpoint of {tree.size} records that you hold.")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while raw := file.readline(LONGEST_LINE):
        if not raw.endswith(b"\n"):
            raise NotVerified("A line has no end: the export was cut, or was damaged on its way.")
        yield raw[:-1]


def _numbered(lines: Iterator[bytes], first: int, size: int) -> Iterator[tuple[int, bytes]]:
    for index, body in enumerate(lines, first):
        if index >= size:
            raise NotVerified(f"The export has more records than its checkpoint ({size}): something was added.")
        yield index, body


def _natural(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST_SIZE:
        raise NotVerified(f"{what} is not a natural number.")
    return value


def _hashes(value: Any, what: str) -> list[bytes]:
    if not isinstance(value, list) or len(value) > 128 or not all(isinstance(one, str) for one in value):
        raise NotVerified(f"{what} is not a list of hashes.")
    hashes = [strict_base64(one, what) for one in value]
    if any(len(one) != 32 for one in hashes):
        raise NotVerified(f"{what} has a hash that is not 32 bytes long.")
    return hashes


# --- Command line ----------------------------------------------------------------------------------------------------


def read_values(file: BinaryIO) -> dict[tuple[str, str], str]:
    """Return the commitments of values handed over: NDJSON of {format, nonce, path, record, value}."""
    values = {}
    for line in _lines(file):
        member = canonical(line, "A line of the values")
        try:
            if member["format"] != VALUE:
                raise ValueError(member["format"])
            nonce, value = bytes.fromhex(member["nonce"]), member["value"].encode()
            key = (member["record"], member["path"])
            values[key] = commitment(*key, nonce, value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotVerified("A line of the values is malformed.") from error
    return values


def describe(report: Report) -> str:
    """Return what an auditor is told."""
    point, end = report.checkpoint, report.first + report.records
    held = (
        f"{report.records} record(s) of the log" if report.kind == "excerpt" else f"records {report.first} to {end - 1}"
    )
    lines = [
        f"Log         {point.origin}",
        f"Checkpoint  {point.size} records, root {base64.b64encode(point.root).decode()}, key {point.key_id.hex()}",
        f"Export      {held}: unchanged since the log signed this checkpoint",
        *(f"            {note}" for note in report.notes),
    ]
    if report.complete:
        lines.append(f"VERIFIED    completeness proven up to record {report.proven - 1} by what you hold.")
        if report.proven < point.size:
            lines.append(f"            From record {report.proven} on, the export's own checkpoint vouches alone.")
    else:
        lines.append("SOUND, BUT  completeness not proven: without a checkpoint or receipt that you kept outside,")
        lines.append("            nothing shows that the log had no more records than these.")
    return "\n".join(lines)


def _text(argument: str) -> str:
    """Return the content of the file `argument`, or `argument` itself if there is no such file."""
    if not os.path.exists(argument):
        return argument
    with open(argument, encoding="utf-8", newline="") as file:
        return file.read(LONGEST_LINE)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="verify.py",
        description="Verify an export of the audit trail offline.",
        epilog="Exit codes: 0 verified; 1 NOT verified; 2 cannot be used; 3 sound, completeness not proven.",
    )
    parser.add_argument("export", help="the export's file, or - for standard input")
    parser.add_argument("--key", action="append", required=True, help="public key, or file of public keys (repeatable)")
    parser.add_argument(
        "--checkpoint", action="append", default=[], help="file of a checkpoint that you kept (repeatable)"
    )
    parser.add_argument(
        "--receipt", action="append", default=[], help="receipt that you kept, or its file (repeatable)"
    )
    parser.add_argument("--values", help="file of values that were handed over beside the export")
    options = parser.parse_args(arguments)
    try:
        keys = [read_key(line) for key in options.key for line in _text(key).splitlines() if line.strip()]
        evidence = Evidence(keys)
        for one in map(_text, options.checkpoint):
            try:
                evidence.checkpoints.append(open_checkpoint(one, keys))
            except UnknownSigner:
                evidence.later.append(one)
        evidence.receipts = [open_receipt(_text(one), keys) for one in options.receipt]
        if options.values:
            with open(options.values, "rb") as file:
                evidence.values = read_values(file)
    except (OSError, ValueError, NotVerified) as error:
        print(f"CANNOT BE USED: what you hold. {error}", file=sys.stderr)
        return 2
    try:
        if options.export == "-":
            report = verify_export(sys.stdin.buffer, evidence)
        else:
            with open(options.export, "rb") as file:
                report = verify_export(file, evidence)
    except OSError as error:
        print(f"CANNOT BE USED: {error}", file=sys.stderr)
        return 2
    except Unusable as error:
        print(f"CANNOT BE USED: {error}", file=sys.stderr)
        return 2
    except NotVerified as error:
        print(f"NOT VERIFIED  {error}")
        return 1
    print(describe(report))
    return 0 if report.complete else 3


if __name__ == "__main__":
    sys.exit(main())
