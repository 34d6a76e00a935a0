"""What a version would change: against what is live where it is meant to go, part by part."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.safestring import SafeString

from registry import versions
from registry.models import Environment, Kind, Slot, Version
from registry.views import diff, source

# Members that are shown in a form of their own.
SHOWN_APART: Mapping[str, tuple[str, ...]] = {
    Kind.PROMPT: ("template",),
    Kind.POLICY: ("modules", "tests"),
    Kind.AGENT: ("pins",),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a module, highlighted."""

    op: str
    before: int | None
    after: int | None
    html: SafeString


@dataclass(frozen=True, slots=True)
class Module:
    """The changed lines of one Rego module, with their surroundings; `folds` are (shown, rows)."""

    name: str
    folds: Sequence[tuple[bool, Sequence[Row]]]
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Part:
    """A pinned part of a release: what it was and what it becomes. One side is None where it comes or goes.

    :param lost: a pinned digest without a version; never left out, because it would be approved unseen.
    """

    kind: str
    name: str
    before: Version | None
    after: Version | None
    comparison: "Comparison | None" = None
    lost: str = ""

    @property
    def change(self) -> str:
        """Return added, removed, changed, unchanged or lost."""
        if self.lost:
            return "lost"
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        return "unchanged" if self.before.pk == self.after.pk else "changed"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A version beside the one that it would follow.

    :param basis: in words what `base` is: "live in production", "the version before", or "" without one.
    """

    version: Version
    base: Version | None
    basis: str
    content: Mapping[str, Any]
    members: Sequence[diff.Change] = ()
    template: Sequence[diff.Piece] = ()
    modules: Sequence[Module] = ()
    parts: Sequence[Part] = field(default=())

    @property
    def same(self) -> bool:
        """Say whether nothing differs."""
        changed = [part for part in self.parts if part.change != "unchanged"]
        return self.base is not None and not (self.members or self.template or self.modules or changed)

    @property
    def rest(self) -> Mapping[str, Any]:
        """Return the members of the content that have no form of their own."""
        return _rest(self.version.kind, self.content)


def live_version(version: Version, environment: Environment | None) -> Version | None:
    """Return what is live where `version` is meant to go: its slot's version, or the part that a live release pins."""
    slot = (
        Slot.objects.filter(artifact_id=version.artifact_id, environment=environment).select_related("version").first()
    )
    if slot is not None:
        return slot.version
    return (
        Version.objects.filter(
            artifact_id=version.artifact_id,
            pinned_by__version__slots__environment=environment,
            pinned_by__version__slots__workspace_id=version.workspace_id,
        )
        .order_by("-number")
        .first()
    )


def against_live(version: Version, environment: Environment | None) -> Comparison:
    """Compare with what is live there; if nothing is, with the version before; if there is none, with nothing."""
    live = live_version(version, environment)
    if live is not None and live.pk != version.pk:
        return compare(version, live, f"live in {environment.name}" if environment else "in force")
    before = Version.objects.filter(artifact_id=version.artifact_id, number=version.number - 1).first()
    if before is not None:
        return compare(version, before, "the version before")
    return compare(version, None, "")


def compare(version: Version, base: Version | None, basis: str, *, deep: bool = True) -> Comparison:
    """Compare two versions of one artifact. `deep`: the changed parts of a release as well."""
    new = versions.content_of(version)
    old = versions.content_of(base) if base is not None else None
    parts = _parts(version, new, base, old) if deep and version.kind == Kind.AGENT else ()
    if old is None:
        return Comparison(version, None, "", new, parts=parts)
    kind = version.kind
    texts = str(old.get("template", "")), str(new.get("template", ""))
    return Comparison(
        version,
        base,
        basis,
        new,
        members=diff.members(_rest(kind, old), _rest(kind, new)),
        template=diff.words(*texts) if kind == Kind.PROMPT and texts[0] != texts[1] else (),
        modules=_modules(old, new) if kind == Kind.POLICY else (),
        parts=parts,
    )


def module(name: str, before: str, after: str) -> Module:
    """Return one module with its changed lines, highlighted."""
    rows = diff.lines(before, after)
    old, new = _highlighted(before), _highlighted(after)
    shown = {
        id(row): Row(row.op, row.before, row.after, new[row.after - 1] if row.after else old[(row.before or 1) - 1])
        for row in rows
    }
    folds = [(shown_now, [shown[id(row)] for row in fold]) for shown_now, fold in diff.folded(rows)]
    added = sum(row.op == "added" for row in rows)
    return Module(name, folds, added, sum(row.op == "removed" for row in rows))


def _highlighted(text: str) -> list[SafeString]:
    return source.rego(text if text.endswith("\n") or not text else text + diff.NO_LINE_END)


def _modules(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Module]:
    changed = diff.modules(old.get("modules", {}), new.get("modules", {}))
    changed += diff.modules(old.get("tests", {}), new.get("tests", {}))
    return [module(*texts) for texts in changed]


def _rest(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in SHOWN_APART.get(kind, ())}


def _parts(version: Version, new: Mapping[str, Any], base: Version | None, old: Mapping[str, Any] | None) -> list[Part]:
    pinned_now = _pinned(version, new["pins"])
    pinned_before = _pinned(base, old["pins"]) if base is not None and old is not None else {}
    wanted = {(pin["kind"], pin["name"]): pin["digest"] for pin in new["pins"]}
    parts = [Part(*key, None, None, lost=digest) for key, digest in wanted.items() if key not in pinned_now]
    for kind, name in sorted({*pinned_now, *pinned_before}, key=_order):
        before, after = pinned_before.get((kind, name)), pinned_now.get((kind, name))
        changed = after is not None and (before is None or before.pk != after.pk)
        basis = f"pinned by version {base.number}" if base is not None and before is not None else ""
        comparison = compare(after, before, basis) if changed and after is not None else None
        if (kind, name) not in wanted or after is not None:
            parts.append(Part(kind, name, before, after, comparison))
    return parts


def _pinned(version: Version, pins: Iterable[Mapping[str, str]]) -> dict[tuple[str, str], Version]:
    listed = list(pins)
    found = {
        row.digest: row
        for row in Version.objects.filter(
            workspace_id=version.workspace_id, digest__in=[pin["digest"] for pin in listed]
        ).select_related("lifecycle")
    }
    return {(pin["kind"], pin["name"]): found[pin["digest"]] for pin in listed if pin["digest"] in found}


def _order(key: tuple[str, str]) -> tuple[int, str]:
    order = (Kind.PROMPT, Kind.POLICY, Kind.TOOL, Kind.MODEL)
    return order.index(Kind(key[0])), key[1]
