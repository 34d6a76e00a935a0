"""The tree of RFC 6962 section 2.1 by its definitions: recursive and slow, for the tests alone."""

from hashlib import sha256


class Leaves:
    """The hashes of a log's leaves, from which it gives the root of every beginning."""

    def __init__(self, hashes):
        self.hashes = hashes
        self._known = {}

    def root(self, size):
        """Return MTH(D[size])."""
        return self._root(0, size) if size else sha256(b"").digest()

    def _root(self, begin, end):
        if end - begin == 1:
            return self.hashes[begin]
        if (begin, end) not in self._known:
            middle = begin + largest_power_below(end - begin)
            self._known[begin, end] = node(self._root(begin, middle), self._root(middle, end))
        return self._known[begin, end]


def leaf(body):
    """Return the hash of a leaf."""
    return sha256(b"\x00" + body).digest()


def node(left, right):
    """Return the hash over two others."""
    return sha256(b"\x01" + left + right).digest()


def largest_power_below(count):
    """Return the largest power of two smaller than `count`."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def root_by_inclusion(leaf_hash, index, size, path):
    """Return the root to which PATH(index, D[size]) leads from the leaf (section 2.1.1)."""
    if size == 1:
        assert path == []
        return leaf_hash
    *below, sibling = path
    middle = largest_power_below(size)
    if index < middle:
        return node(root_by_inclusion(leaf_hash, index, middle, below), sibling)
    return node(sibling, root_by_inclusion(leaf_hash, index - middle, size - middle, below))


def roots_by_consistency(old, new, old_root, path, *, whole=True):
    """Return the two roots to which PROOF(old, D[new]) leads (section 2.1.2); `old_root` is what is held of the old."""
    if old == new:
        if whole:
            assert path == []
            return old_root, old_root
        (same,) = path
        return same, same
    *below, sibling = path
    middle = largest_power_below(new)
    if old <= middle:
        was, now = roots_by_consistency(old, middle, old_root, below, whole=whole)
        return was, node(now, sibling)
    was, now = roots_by_consistency(old - middle, new - middle, old_root, below, whole=False)
    return node(sibling, was), node(sibling, now)
