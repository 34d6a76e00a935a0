"""Whatever is done to an export, the verifier notices; and it never cries wolf over a clean one.

The auditor holds the pinned keys, a checkpoint of five records and a receipt for each later record. Each mutation
below yields many variants; every one that differs from the original must be refused.
"""

import base64
import json
import random
from itertools import pairwise
from uuid import UUID

import pytest

from audit import canonical, export, keys, log, receipts, tree, verify
from tests.audit import trails

OLD = 5
SIZE = 14


class Case:
    """A log, what the auditor holds of it, and its exports."""

    def __init__(self) -> None:
        self.workspace = trails.published(OLD)
        self.old = trails.publish(self.workspace)
        entries = [self.append(at) for at in range(SIZE - OLD)]
        self.note = trails.publish(self.workspace)
        self.key = keys.checkpoint(self.workspace)
        self.held = trails.evidence(self.workspace, self.old, receipts=[receipts.issue(one) for one in entries])
        self.exports = {
            "log": trails.exported(self.workspace),
            "rest": trails.exported(self.workspace, first=OLD),
            "excerpt": trails.exported(self.workspace, selection=export.Selection(event="audit."), since=[OLD]),
        }
        other = trails.published(SIZE)
        self.other = {
            "log": trails.exported(other),
            "rest": trails.exported(other, first=OLD),
            "excerpt": trails.exported(other, selection=export.Selection(event="audit."), since=[OLD]),
        }

    def append(self, at: int) -> log.Entry:
        data = {
            "arguments": log.Sealed({"to": f"{at}@example.com"}, "person:alice"),
            "reasons": [{"code": "untrusted_session", "message": 'žluť \u2028 \U0001f600 \\ " \n'}],
            "allow": at % 2 == 0,
            "spent": at,
            "nothing": None,
        }
        return trails.append(self.workspace, data, subjects={"call": f"sha256:{at}"}, actor="credential:c-1")

    def forge(self, bodies: list[bytes], key: keys.SigningKey) -> bytes:
        """Return a whole export over other records, with a tree of its own, signed by `key`."""
        header = json.loads(self.exports["log"].split(b"\n")[0])
        root = tree.root_of([tree.leaf(body) for body in bodies])
        header["checkpoint"] = trails.note(key, len(bodies), root)
        return b"".join(line + b"\n" for line in [canonical.dumps(header), *bodies])


@pytest.fixture(scope="module")
def case(django_db_blocker):
    with django_db_blocker.unblock():
        yield Case()


def missed(content: bytes, held: verify.Evidence) -> bool:
    """Say whether the verifier let `content` pass. Any other exception than its own is a fault and surfaces."""
    try:
        verify.verify_export(trails.file(content), held)
    except verify.NotVerified:
        return False
    return True


def join(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def any_byte(lines, other, choose):
    """Flip a bit, drop a byte, add a byte: everywhere in every line, the header included."""
    for at, line in enumerate(lines):
        for _ in range(9):
            place = choose.randrange(len(line))
            flipped = bytearray(line)
            flipped[place] ^= 1 << choose.randrange(8)
            yield join([*lines[:at], bytes(flipped), *lines[at + 1 :]])
            added = bytes([choose.randrange(256)])
            yield join([*lines[:at], line[:place] + added + line[place:], *lines[at + 1 :]])
            yield join([*lines[:at], line[:place] + line[place + 1 :], *lines[at + 1 :]])


def any_field(lines, other, choose):
    """Change, remove or rename each member of each JSON line, and write it canonically again."""
    for at, line in enumerate(lines):
        for changed in fields(json.loads(line)):
            yield join([*lines[:at], canonical.dumps(changed), *lines[at + 1 :]])


def fields(value):
    """Yield copies of `value`, each with one thing in it changed."""
    if isinstance(value, dict):
        for name, member in value.items():
            rest = {key: one for key, one in value.items() if key != name}
            yield rest
            yield rest | {name + "x": member}
            yield from ({**value, name: changed} for changed in fields(member))
        yield value | {"added": 1}
    elif isinstance(value, list):
        for at, member in enumerate(value):
            yield value[:at] + value[at + 1 :]
            yield from ([*value[:at], changed, *value[at + 1 :]] for changed in fields(member))
        yield [*value, "added"]
    elif isinstance(value, bool) or value is None:
        yield not value
    elif isinstance(value, int):
        yield value + 1
    else:
        yield value + "x"
        yield value[:-1] + ("a" if value[-1:] != "a" else "b")


def deleted(lines, other, choose):
    for at in range(len(lines)):
        yield join(lines[:at] + lines[at + 1 :])
        yield join(lines[:at] + lines[at + 2 :])


def swapped(lines, other, choose):
    for at in range(1, len(lines) - 1):
        for to in {at + 1, choose.randrange(1, len(lines))} - {at}:
            moved = list(lines)
            moved[at], moved[to] = moved[to], moved[at]
            yield join(moved)


def duplicated(lines, other, choose):
    for at in range(1, len(lines)):
        yield join([*lines[:at], lines[at], *lines[at:]])
        yield join([*lines, lines[at]])


def inserted(lines, other, choose):
    invented = lines[-1].replace(b"alice", b"mallory").replace(b'"n":4', b'"n":44') + b" "
    for at in range(1, len(lines) + 1):
        for line in (choose.choice(other[1:]), invented, b"", b"{}"):
            yield join([*lines[:at], line, *lines[at:]])


def merged(lines, other, choose):
    for at, (one, two) in enumerate(pairwise(lines)):
        for between in (b"", b" ", b"\r", b","):
            yield join([*lines[:at], one + between + two, *lines[at + 2 :]])
        half = len(one) // 2
        yield join([*lines[:at], one[:half], one[half:], two, *lines[at + 2 :]])
    yield join([lines[0], *other[1:]])
    yield join([other[0], *lines[1:]])
    yield join(lines + other)
    yield join(lines[:3] + other[3:])
    yield join(lines).replace(b"\n", b"\r\n")


def cut(lines, other, choose):
    whole = join(lines)
    for at in range(len(lines)):
        yield join(lines[:at])
    for at in (1, 2, 3, 10, 100, 300, 500, 1000, len(lines[-1]), len(lines[-1]) + 1):
        yield whole[:-at]


@pytest.mark.parametrize("kind", ["log", "rest", "excerpt"])
@pytest.mark.parametrize("mutate", [any_byte, any_field, deleted, swapped, duplicated, inserted, merged, cut])
def test_no_mutation_of_an_export_passes(case, kind, mutate):
    original = case.exports[kind]
    lines, other = original.split(b"\n")[:-1], case.other[kind].split(b"\n")[:-1]
    assert not missed(case.other[kind], case.held)
    choose = random.Random(kind)
    variants = sorted({one for one in mutate(lines, other, choose) if one != original})
    if kind != "log":
        variants = choose.sample(variants, min(60, len(variants)))
    assert len(variants) > len(lines)
    assert [one for one in variants if missed(one, case.held)] == []


def rewritten(bodies, choose):
    """Every way to change, remove, move or add one record."""
    for at, body in enumerate(bodies):
        yield at, [*bodies[:at], body.replace(b'"audit.', b'"Audit.'), *bodies[at + 1 :]]
        yield at, [*bodies[:at], *bodies[at + 1 :]]
        yield at, [*bodies[:at], body, *bodies[at:]]
        if at + 1 < len(bodies):
            yield at, [*bodies[:at], bodies[at + 1], body, *bodies[at + 2 :]]


def test_a_log_rebuilt_and_signed_with_another_key_never_passes(case):
    bodies = case.exports["log"].split(b"\n")[1:-1]
    stranger = trails.another_key(case.key.name)
    # The same id as the pinned key: four bytes, which an attacker can make fit.
    twin = keys.SigningKey(stranger.name, case.key.id, stranger.public, stranger.private)
    tried = 0
    for key in (stranger, twin):
        assert not missed(case.forge(bodies, key), case.held)
        for _, forged in rewritten(bodies, random.Random(1)):
            assert not missed(case.forge(forged, key), case.held)
            tried += 1
    assert tried > 100


def test_history_rewritten_with_the_right_key_never_passes_beside_what_was_kept(case):
    """The log's own key signed it: only the auditor's older checkpoint and receipts can tell."""
    bodies = case.exports["log"].split(b"\n")[1:-1]
    assert missed(case.forge(bodies, case.key), case.held), "the same history, signed again, is the same history"
    tried = 0
    for at, forged in rewritten(bodies, random.Random(2)):
        content = case.forge(forged, case.key)
        if at < OLD - 1:
            assert not missed(content, trails.evidence(case.workspace, case.old))
            tried += 1
        if at >= OLD and bodies[at] not in content:
            assert not missed(content, case.held)
            tried += 1
    for at in range(OLD):
        assert not missed(case.forge(bodies[: at + 1], case.key), trails.evidence(case.workspace, case.note))
        tried += 1
    assert tried > 25


def test_an_excerpt_of_rewritten_history_never_passes_beside_an_older_checkpoint(case):
    lines = case.exports["excerpt"].split(b"\n")[:-1]
    header, bodies = json.loads(lines[0]), lines[2:-1:2]
    for at, forged in rewritten(bodies, random.Random(3)):
        if at >= OLD - 1:
            continue
        hashes = [tree.leaf(body) for body in forged]
        tiles = {(tile.level, tile.n): tile.hashes for tile in tree.grow(0, hashes, lambda level, n: b"")}
        read = lambda level, n, tiles=tiles: tiles.get((level, n), b"")  # noqa: E731
        size = len(forged)
        header["checkpoint"] = trails.note(case.key, size, tree.root_of(hashes))
        proof = [encode(one) for one in tree.consistency(read, OLD, size)]
        header["consistency"] = [{"size": OLD, "root": encode(tree.root(read, OLD)), "proof": proof}]
        made = [canonical.dumps(header)]
        for index, body in enumerate(forged):
            proof = [encode(one) for one in tree.inclusion(read, index, size)]
            made += [canonical.dumps({"index": index, "proof": proof}), body]
        content = join([*made, canonical.dumps({"records": size})])
        assert missed(content, trails.evidence(case.workspace)), "the forgery is valid in itself"
        assert not missed(content, trails.evidence(case.workspace, case.old))


def encode(one: bytes) -> str:
    return base64.b64encode(one).decode()


def test_no_clean_export_is_ever_refused(db):
    """Every export between any two of twenty checkpoints, whole and from the older one on, and excerpts."""
    workspace = trails.published(1)
    notes = {1: trails.publish(workspace)}
    tokens: dict[int, str] = {}
    for size in range(2, 21):
        tokens[size] = receipts.issue(trails.append(workspace, {"n": size}))
        notes[size] = trails.publish(workspace)
    clean = 0
    for new in range(1, 21):
        for old in range(1, new + 1, 3):
            held = trails.evidence(workspace, notes[old], receipts=[tokens[new]] if new > old else [])
            for content in (trails.exported(workspace, size=new), trails.exported(workspace, size=new, first=old)):
                report = verify.verify_export(trails.file(content), held)
                assert report.complete
                clean += 1
            excerpt = trails.exported(workspace, size=new, selection=export.Selection(actor=trails.ACTOR), since=[old])
            assert verify.verify_export(trails.file(excerpt), held).records == new
            clean += 1
    assert clean > 200


def test_the_command_line_refuses_what_the_function_refuses(case, tmp_path):
    """A few of each kind through the copied file, as an auditor runs it."""
    pinned = tmp_path / "keys.txt"
    pinned.write_text(f"{case.key.public}\n{keys.receipt().public}\n")
    held = tmp_path / "old.note"
    held.write_text(case.old)
    target = tmp_path / "export.ndjson"
    target.write_bytes(case.exports["log"])
    assert trails.run_verifier(tmp_path, target, "--key", str(pinned), "--checkpoint", str(held)).returncode == 0
    lines, other = case.exports["log"].split(b"\n")[:-1], case.other["log"].split(b"\n")[:-1]
    for mutate in (any_byte, any_field, deleted, swapped, duplicated, inserted, merged, cut):
        choose = random.Random(7)
        for content in choose.sample([one for one in mutate(lines, other, choose) if one != case.exports["log"]], 2):
            target.write_bytes(content)
            done = trails.run_verifier(tmp_path, target, "--key", str(pinned), "--checkpoint", str(held))
            assert (done.returncode, done.stdout.startswith("NOT VERIFIED"), done.stderr) == (1, True, "")


def test_workspaces_are_not_mixed_up(case):
    """The records of another workspace under this one's header, though both logs are pinned."""
    header = json.loads(case.other["log"].split(b"\n")[0])
    other = UUID(header["workspace"])
    both = verify.Evidence([*case.held.keys, verify.read_key(trails.key_of(other))])
    assert missed(case.other["log"], both)
    header["workspace"] = str(case.workspace)
    lines = case.other["log"].split(b"\n")[:-1]
    assert not missed(join([canonical.dumps(header), *lines[1:]]), both)
