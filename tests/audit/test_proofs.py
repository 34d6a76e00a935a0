"""Every record of a log of some size has a proof, and every two checkpoints are linked."""

from uuid import uuid4

import pytest

from audit import checkpoints, proofs, records, tree, verify
from audit.refusal import Refusal
from tests.audit import trails


@pytest.fixture
def grown(db):
    """A log with checkpoints on both sides of a full tile."""
    workspace = uuid4()
    for count in (1, 7, 247, 1, 1, 63):
        trails.published(count, workspace)
    assert [row.size for row in checkpoints.newest(workspace)] == [320, 257, 256, 255, 8, 1]
    return workspace


def test_each_record_is_proven_under_every_checkpoint_that_has_it(grown):
    rows = {row.index: row for row in records.newest(grown, limit=1000)}
    for checkpoint in checkpoints.newest(grown):
        for index in {0, 1, 7, 8, 100, 254, 255, 256, checkpoint.size - 1}:
            if index >= checkpoint.size:
                with pytest.raises(Refusal, match="not_integrated"):
                    proofs.inclusion(grown, rows[index].id, checkpoint.size)
                continue
            proof = proofs.inclusion(grown, rows[index].id, checkpoint.size)
            assert (proof.index, proof.leaf_hash) == (index, tree.leaf(rows[index].text.encode()))
            assert verify.included(proof.leaf_hash, index, checkpoint.size, proof.path, checkpoint.root)


def test_every_two_checkpoints_are_linked(grown):
    rows = checkpoints.newest(grown)
    for new in rows:
        for old in rows:
            if old.size <= new.size:
                path = proofs.consistency(grown, old.size, new.size)
                assert verify.consistent(old.size, old.root, new.size, new.root, path)


def test_what_cannot_be_proven_is_refused(grown):
    record = records.newest(grown)[0].id
    for call, code in (
        (lambda: proofs.inclusion(grown, uuid4()), "not_found"),
        (lambda: proofs.inclusion(uuid4(), record), "not_found"),
        (lambda: proofs.inclusion(grown, record, 99), "no_checkpoint"),
        (lambda: proofs.consistency(grown, 5, 4), "size_out_of_range"),
        (lambda: proofs.consistency(grown, 1, 321), "size_out_of_range"),
        (lambda: proofs.checkpoint(uuid4()), "no_checkpoint"),
    ):
        with pytest.raises(Refusal) as refused:
            call()
        assert refused.value.code == code
