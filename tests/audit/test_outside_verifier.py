"""A reader of c2sp.org logs that nobody here wrote reads ours: checkpoint, tiles, entries and proofs."""

import hashlib
import json

import pytest
from tlog_scales import signing
from tlog_scales.reader import TilesReader
from tlog_scales.tlog import Checkpoint, ConsistencyProofInvalid, InclusionProofInvalid

from audit import checkpoints, proofs, records, tree
from tests.audit import trails


class OverRest:
    """Gets the log's resources from our addresses, as an HTTP client would."""

    def __init__(self, client, prefix):
        self.client, self.prefix = client, prefix

    def get(self, *path):
        answer = self.client.get("/".join((self.prefix, *map(str, path))))
        return answer.content if answer.status_code == 200 else None


@pytest.fixture
def reader(workspace, client_for, dave):
    trails.published(300, workspace.pk)
    return TilesReader(OverRest(client_for(dave), f"/log/{workspace.slug}"))


def test_it_reads_the_checkpoint_and_accepts_its_signature(reader, workspace):
    checkpoint = reader.get_checkpoint()
    vkey = signing.Vkey.from_string(trails.key_of(workspace.pk))
    checkpoint.verify(vkey)
    assert checkpoint.size == checkpoints.newest(workspace.pk)[0].size
    assert reader.calculate_root_hash() == checkpoint.root_hash


def test_it_refuses_the_signature_of_another_key(reader, workspace):
    stranger = trails.another_key(reader.get_checkpoint().origin)
    with pytest.raises(Exception, match=r"."):
        reader.get_checkpoint().verify(signing.Vkey.from_string(stranger.public))


def test_it_makes_proofs_from_our_tiles_that_fit_our_records(reader, workspace):
    checkpoint = reader.get_checkpoint()
    rows = {row.index: row for row in records.newest(workspace.pk, limit=1000)}
    for index in (0, 5, 254, 255, 256, checkpoint.size - 1):
        assert reader.get_entry(index) == rows[index].text.encode()
        theirs = reader.get_inclusion_proof(index, checkpoint.size)
        theirs.check(tree.leaf(reader.get_entry(index)), checkpoint.root_hash)
        assert theirs.node_hashes == proofs.inclusion(workspace.pk, rows[index].id).path
        with pytest.raises(InclusionProofInvalid):
            theirs.check(tree.leaf(reader.get_entry(index) + b" "), checkpoint.root_hash)


def test_it_links_two_checkpoints_of_ours(reader, workspace):
    old = checkpoints.newest(workspace.pk)[0]
    trails.published(5, workspace.pk)
    new = Checkpoint.from_text(checkpoints.newest(workspace.pk)[0].note)
    reader.get_checkpoint()
    theirs = reader.get_consistency_proof(old.size, new.size)
    theirs.check(old.root, new.root_hash)
    assert theirs.node_hashes == proofs.consistency(workspace.pk, old.size, new.size)
    with pytest.raises(ConsistencyProofInvalid):
        theirs.check(bytes(32), new.root_hash)


def test_the_lines_of_an_export_give_the_root_that_it_reads_from_the_checkpoint(reader, workspace):
    """A second verifier of whole exports, from the specification: the note by that library, the root by definition."""
    header, *bodies, end = trails.exported(workspace.pk).split(b"\n")
    checkpoint = Checkpoint.from_text(json.loads(header)["checkpoint"])
    checkpoint.verify(signing.Vkey.from_string(trails.key_of(workspace.pk)))

    def root(hashes):
        if len(hashes) == 1:
            return hashes[0]
        half = 1 << (len(hashes) - 1).bit_length() - 1
        return hashlib.sha256(b"\x01" + root(hashes[:half]) + root(hashes[half:])).digest()

    assert end == b""
    assert len(bodies) == checkpoint.size
    assert root([hashlib.sha256(b"\x00" + body).digest() for body in bodies]) == checkpoint.root_hash
