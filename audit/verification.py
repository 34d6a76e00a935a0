"""Verifies one record here and now, step by step, with the very functions of verify.py.

It shows a person what the proof on the page means. It is this server's word about itself all the same: who needs more
takes an export and verify.py to another machine.
"""

from dataclasses import dataclass

from audit import proofs, publisher, verify
from audit.records import Row


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was compared. `held`: whether it is as it must be."""

    said: str
    held: bool


def steps(row: Row, proof: proofs.Inclusion) -> list[Step]:
    """Return what was compared, in order."""
    made = verify.leaf(row.text.encode())
    signed = proof.checkpoint
    root, key = b"", "no pinned key"
    try:
        opened = verify.open_checkpoint(signed.note, publisher.pinned(row.workspace))
        root, key = opened.root, f"the log's key, at {opened.size:,} records"
    except verify.NotVerified as error:
        key = str(error)
    path = len(proof.path)
    leads = verify.included(made, proof.index, signed.size, proof.path, root)
    return [
        Step(f"The leaf hash, made anew from the body above, is {made.hex()}.", made == row.leaf_hash),
        Step(f"The leaf at index {proof.index:,} of the tree has that hash.", made == proof.leaf_hash),
        Step(f"From it, {path} hash{'' if path == 1 else 'es'} lead to the root {(root or signed.root).hex()}.", leads),
        Step(f"The checkpoint with that root is signed by {key}.", bool(root)),
    ]
