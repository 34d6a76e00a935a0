"""The Merkle tree of RFC 6962 section 2.1, kept in tiles of 256 hashes (c2sp.org/tlog-tiles). PURE.

A *tile* (level, n) holds up to 256 hashes of complete subtrees of 256**level leaves each. A tile that is full never
changes; the one at the right edge of each level only grows. A *frontier* is the roots of the complete subtrees that
a tree of some size consists of, the largest first: one for each 1 in the binary form of the size.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

HASH = 32
WIDTH = 256
HEIGHT = 8
EMPTY = sha256(b"").digest()

Read = Callable[[int, int], bytes]  # (level, n) -> the hashes of that tile, joined


class Tile(NamedTuple):
    """One tile: its level, its place in the level, its hashes joined (32 bytes each, at most 256)."""

    level: int
    n: int
    hashes: bytes


def leaf(body: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 || body)."""
    return sha256(b"\x00" + body).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree of which only the right edge is kept: enough to append to it and to give its root."""

    def __init__(self, size: int = 0, joined: bytes = b"") -> None:
        """Take up a tree of `size` leaves. :raises ValueError: if `joined` cannot be the frontier of that size."""
        if size < 0 or len(joined) != size.bit_count() * HASH:
            raise ValueError(f"A frontier of {size} leaves cannot have {len(joined)} bytes.")
        self.size = size
        self.hashes = split(joined)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf at the right."""
        carry, size = leaf_hash, self.size
        while size & 1:
            carry = node(self.hashes.pop(), carry)
            size >>= 1
        self.hashes.append(carry)
        self.size += 1

    def root(self) -> bytes:
        """Return the root hash of the tree."""
        if not self.hashes:
            return EMPTY
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node(left, root)
        return root

    def joined(self) -> bytes:
        """Return the hashes in one piece, as they are stored."""
        return b"".join(self.hashes)


def split(joined: bytes) -> list[bytes]:
    """Return the hashes that `joined` consists of."""
    return [joined[at : at + HASH] for at in range(0, len(joined), HASH)]


def complete(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [node(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def grow(size: int, leaf_hashes: Sequence[bytes], read: Read) -> list[Tile]:
    """Return the tiles that change when `leaf_hashes` are appended to a tree of `size` leaves.

    :param read: gives the partial tile at the right edge of a level; asked at most once a level.
    """
    changed: list[Tile] = []
    level, start, fresh = 0, size, list(leaf_hashes)
    while fresh:
        n, kept = divmod(start, WIDTH)
        row = (split(read(level, n)) if kept else []) + fresh
        above = []
        for at in range(0, len(row), WIDTH):
            hashes = row[at : at + WIDTH]
            changed.append(Tile(level, n + at // WIDTH, b"".join(hashes)))
            if len(hashes) == WIDTH:
                above.append(complete(hashes))
        # Of a level, as many hashes stand one level up as it has full tiles.
        level, start, fresh = level + 1, n, above
    return changed


def subtree(read: Read, level: int, index: int) -> bytes:
    """Return the root of complete subtree `index` among those of 2**level leaves."""
    tile_level, height = divmod(level, HEIGHT)
    n, offset = divmod(index << height, WIDTH)
    hashes = read(tile_level, n)[offset * HASH : (offset + (1 << height)) * HASH]
    if len(hashes) != HASH << height:
        raise LookupError(f"Tile {tile_level}/{n} has no {1 << height} hashes at {offset}.")
    return complete(split(hashes))


def span(read: Read, begin: int, end: int) -> bytes:
    """Return MTH(D[begin:end]), where `begin` is a multiple of the power of two that covers the length."""
    length = end - begin
    level = (length - 1).bit_length()
    if length == 1 << level:
        return subtree(read, level, begin >> level)
    middle = begin + (1 << (level - 1))
    return node(span(read, begin, middle), span(read, middle, end))


def root(read: Read, size: int) -> bytes:
    """Return the root of the first `size` leaves."""
    return span(read, 0, size) if size else EMPTY


def frontier(read: Read, size: int) -> Frontier:
    """Return the frontier of the first `size` leaves."""
    hashes, begin = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            hashes.append(subtree(read, level, begin >> level))
            begin += 1 << level
    return Frontier(size, b"".join(hashes))


def inclusion(read: Read, index: int, size: int) -> list[bytes]:
    """Return PATH(index, D[size]) of RFC 6962 section 2.1.1, the leaf's sibling first.

    :raises ValueError: if the tree of `size` leaves has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {index}.")
    path, begin, end = [], 0, size
    while end - begin > 1:
        middle = begin + _half(end - begin)
        if index < middle:
            path.append(span(read, middle, end))
            end = middle
        else:
            path.append(span(read, begin, middle))
            begin = middle
    return path[::-1]


def consistency(read: Read, old: int, new: int) -> list[bytes]:
    """Return PROOF(old, D[new]) of RFC 6962 section 2.1.2; empty if either tree is empty or they are the same.

    :raises ValueError: if `old` is larger than `new`.
    """
    if not 0 <= old <= new:
        raise ValueError(f"A tree of {new} leaves has no earlier tree of {old} leaves.")
    if old in (0, new):
        return []
    path, begin, end, whole = [], 0, new, True
    while old != end:
        middle = begin + _half(end - begin)
        if old <= middle:
            path.append(span(read, middle, end))
            end = middle
        else:
            path.append(span(read, begin, middle))
            begin, whole = middle, False
    if not whole:
        path.append(span(read, begin, end))
    return path[::-1]


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes, in memory for the frontier alone."""
    edge = Frontier()
    for leaf_hash in leaf_hashes:
        edge.append(leaf_hash)
    return edge.root()


def _half(length: int) -> int:
    """Return the largest power of two below `length` (at least 2)."""
    return 1 << (length - 1).bit_length() - 1
