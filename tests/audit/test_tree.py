"""The tree is RFC 6962's however it is grown; its proofs convince of what is true and of nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import tree, verify

# The published test vectors of the Certificate Transparency reference implementation.
INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


class Store(dict[tuple[int, int], bytes]):
    """Tiles in memory, grown by batches as the sequencer grows them."""

    def __init__(self, leaf_hashes, batches):
        super().__init__()
        size = 0
        for batch in batches:
            for tile in tree.grow(size, leaf_hashes[size : size + batch], self.read):
                self[tile.level, tile.n] = tile.hashes
            size += batch
        for tile in tree.grow(size, leaf_hashes[size:], self.read):
            self[tile.level, tile.n] = tile.hashes

    def read(self, level, n):
        return self.get((level, n), b"")


def leaves(count):
    return [tree.leaf(str(at).encode()) for at in range(count)]


def by_definition(leaf_hashes):
    """MTH exactly as RFC 6962 section 2.1 writes it."""
    if not leaf_hashes:
        return tree.EMPTY
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    half = 1
    while half * 2 < len(leaf_hashes):
        half *= 2
    return tree.node(by_definition(leaf_hashes[:half]), by_definition(leaf_hashes[half:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_published_vectors(size):
    hashes = [tree.leaf(bytes.fromhex(one)) for one in INPUTS[:size]]
    read = Store(hashes, []).read
    assert tree.root_of(hashes).hex() == ROOTS[size]
    assert tree.root(read, size).hex() == ROOTS[size]


def test_proofs_are_those_of_the_published_vectors():
    hashes = [tree.leaf(bytes.fromhex(one)) for one in INPUTS]
    read = Store(hashes, []).read
    for (index, size), path in PATHS.items():
        assert [one.hex() for one in tree.inclusion(read, index, size)] == path
    for (old, new), path in CONSISTENCY.items():
        assert [one.hex() for one in tree.consistency(read, old, new)] == path


def test_tiles_are_as_wide_as_the_specification_says():
    """The example of c2sp.org/tlog-tiles: a tree of 70,000 records."""
    store = Store(leaves(70_000), [1, 255, 257, 20_000])
    widths = {place: len(joined) // tree.HASH for place, joined in store.items()}
    assert sum(1 for (level, _), width in widths.items() if level == 0 and width == 256) == 273
    assert widths[0, 273] == 112
    assert (widths[1, 0], widths[1, 1], widths[2, 0]) == (256, 17, 1)
    assert len(widths) == 277


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=6), st.data())
def test_however_it_is_grown_the_tree_is_the_same_and_every_proof_verifies(batches, data):
    size = sum(batches)
    hashes = leaves(size)
    store = Store(hashes, batches)
    root = by_definition(hashes)
    assert tree.root(store.read, size) == tree.root_of(hashes) == root
    assert tree.frontier(store.read, size).root() == root
    index = data.draw(st.integers(0, size - 1))
    path = tree.inclusion(store.read, index, size)
    assert verify.included(hashes[index], index, size, path, root)
    old = data.draw(st.integers(0, size))
    old_root = by_definition(hashes[:old])
    proof = tree.consistency(store.read, old, size)
    assert verify.consistent(old, old_root, size, root, proof)


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 300), st.data())
def test_no_proof_convinces_of_anything_else(size, data):
    hashes = leaves(size)
    read, root = Store(hashes, []).read, tree.root_of(hashes)
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    path = tree.inclusion(read, index, size)
    assert not verify.included(tree.leaf(b"other"), index, size, path, root)
    assert other == index or not verify.included(hashes[index], other, size, path, root)
    assert not verify.included(hashes[index], index, size, [*path, root], root)
    assert not verify.included(hashes[index], index, size, path[:-1], root)
    assert not verify.included(hashes[index], index, size, path, tree.EMPTY)
    old = data.draw(st.integers(1, size - 1))
    proof = tree.consistency(read, old, size)
    rewritten = tree.root_of([tree.leaf(b"other"), *hashes[1:old]])
    assert not verify.consistent(old, rewritten, size, root, proof)
    assert not verify.consistent(old, tree.root_of(hashes[:old]), size, rewritten, proof)
    assert not verify.consistent(old, tree.root_of(hashes[:old]), size, root, [*proof, root])
    assert not verify.consistent(old, tree.root_of(hashes[:old]), size, root, proof[:-1])
    assert not verify.consistent(size, root, old, tree.root_of(hashes[:old]), proof)


def test_what_is_not_in_a_tree_is_refused():
    read = Store(leaves(5), []).read
    for index, size in ((5, 5), (-1, 5), (0, 0)):
        with pytest.raises(ValueError, match="no leaf"):
            tree.inclusion(read, index, size)
    with pytest.raises(ValueError, match="no earlier tree"):
        tree.consistency(read, 6, 5)
    with pytest.raises(LookupError):
        tree.root(read, 6)
    with pytest.raises(ValueError, match="frontier"):
        tree.Frontier(3, b"\x00" * 32)
