"""People apply overlapping directories at once: in either order, nothing half applied, no deadlock to be seen."""

import json
import secrets

import pytest

from audit.refusal import Refusal
from registry import versions
from registry.manifests.apply import apply
from registry.models import Artifact, Proposal
from tests.gateway.stage import query
from tests.races import dice
from tests.races.agreement import Agreement
from tests.races.threads import Threads
from tests.registry.builders import TOOL

APPLIERS = 3
NAMES = ("one", "two", "three", "four")


class Directory:
    """A directory of manifests: some tools that others bring too, and a release that pins them all."""

    def __init__(self, place, chance, shared):
        self.place = place
        self.tools = {}
        for name in chance.sample(NAMES, chance.randint(2, len(NAMES))):
            # The same bytes as others, or one's own.
            said = shared if chance.random() < 0.5 else f"{shared} {place.name}"
            self.tools[name] = TOOL | {"description": said}
        self.budgets = {"steps": chance.choice([7, 7, 8, 9])}
        place.mkdir()
        for name, content in self.tools.items():
            self._write("tool", name, content)
        pins = [{"kind": "tool", "name": name} for name in sorted(self.tools)]
        pins.append({"kind": "policy", "name": "steward-policy"})
        self._write("agent", "applied", {"pins": pins, "budgets": self.budgets})

    def _write(self, kind, name, content):
        document = {"apiVersion": "placet/v1", "kind": kind, "metadata": {"name": name}, "spec": content}
        (self.place / f"{kind}-{name}.yaml").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def scene(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        yield Agreement()


@dice.bouts(12, 300)
def test_overlapping_directories_are_applied_as_if_one_came_after_the_other(db, scene, tmp_path, count):
    with Threads(APPLIERS) as threads:
        for number in range(count):
            chance = dice.of("manifests", number)
            shared = f"shared {number} {secrets.token_hex(4)}"
            mine = [Directory(tmp_path / f"d{number}-{lane}", chance, shared) for lane in range(APPLIERS)]
            before = _numbers(scene)
            results = threads.race(
                [
                    lambda one=one, who=who: _apply(scene, one, who)
                    for one, who in zip(mine, ("alice", "bob", "carol"), strict=True)
                ]
            )
            assert not [one for one in results if isinstance(one, Refusal)], f"{dice.told()} {number}: {results}"
            for directory, applied in zip(mine, results, strict=True):
                _check(scene, directory, applied)
            _numbered(scene, before)


def _apply(scene, directory, who):
    try:
        return apply(
            scene.workspace, directory.place, actor=scene.people[who], propose="development", **scene.build.how
        )
    except Refusal as refusal:
        return refusal


def _check(scene, directory, applied):
    """Each manifest is a version with its bytes, and the release pins those of its own directory."""
    by_name = {(one.manifest.kind, one.manifest.name): one for one in applied}
    assert by_name.keys() == {("agent", "applied"), *(("tool", name) for name in directory.tools)}
    for name, content in directory.tools.items():
        assert versions.content_of(by_name["tool", name].version) == content
    release = by_name["agent", "applied"]
    pins = {pin["name"]: pin["digest"] for pin in versions.content_of(release.version)["pins"]}
    assert {name: pins[name] for name in directory.tools} == {
        name: by_name["tool", name].version.digest for name in directory.tools
    }
    rows = query(
        """SELECT v.digest FROM registry_pin p JOIN registry_version v ON v.id = p.part_id WHERE p.version_id = %s""",
        release.version.pk,
    )
    assert {digest for (digest,) in rows} == set(pins.values())
    assert Proposal.objects.filter(version=release.version, state="open").count() == 1
    assert release.proposal is not None


def _numbers(scene):
    return dict(Artifact.objects.filter(workspace=scene.workspace).values_list("pk", "count"))


def _numbered(scene, before):
    """The versions of each artifact are numbered from one, without a gap and none twice."""
    for pk, count in _numbers(scene).items():
        numbers = query("SELECT number FROM registry_version WHERE artifact_id = %s ORDER BY number", pk)
        assert [number for (number,) in numbers] == list(range(1, count + 1))
        assert count >= before.get(pk, 0)
