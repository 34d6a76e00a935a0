"""What a version would change: against what is live where it is meant to go, part by part."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from registry import versions
from registry.comments import Thread
from registry.models import Environment, Kind, Slot, Version
from registry.views import diff, source

# Members that are shown in a form of their own.
SHOWN_APART: Mapping[str, tuple[str, ...]] = {
    Kind.PROMPT: ("template",),
    Kind.POLICY: ("modules", "tests"),
    Kind.AGENT: ("pins",),
}
# What was said, by version, JSON pointer and line.
Said = Mapping[tuple[UUID, str, int | None], Sequence[Thread]]
NOTHING: Said = {}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a text as HTML, and what was said about it."""

    op: str
    before: int | None
    after: int | None
    html: SafeString
    said: Sequence[Thread] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a version, with its changed lines and their surroundings. `folds` are (shown, rows).

    :param path: JSON pointer of the text in the content. :param kind: template, module or tests.
    """

    name: str
    path: str
    kind: str
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
    :param texts: those that differ; all of them without a base. :param remarks: what was said, by JSON pointer.
    """

    version: Version
    base: Version | None
    basis: str
    content: Mapping[str, Any]
    members: Sequence[diff.Change] = ()
    texts: Sequence[Text] = ()
    parts: Sequence[Part] = ()
    remarks: Mapping[str, Sequence[Thread]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Say whether nothing differs."""
        changed = [part for part in self.parts if part.change != "unchanged"]
        return self.base is not None and not (self.members or self.texts or changed)

    @property
    def rest(self) -> Mapping[str, Any]:
        """Return the members of the content that have no form of their own."""
        return _rest(self.version.kind, self.content)

    @property
    def paths(self) -> list[str]:
        """Return the JSON pointers that one can comment on: texts first, then the other members."""
        texts = [path for path, _ in _texts(self.version.kind, self.content).values()]
        return texts + [f"/{diff.escaped(name)}" for name in self.rest]

    @property
    def changed(self) -> list[Part]:
        """Return the parts that do not stay as they are."""
        return [part for part in self.parts if part.change != "unchanged"]


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


def against_live(version: Version, environment: Environment | None, said: Said = NOTHING) -> Comparison:
    """Compare with what is live there; if nothing is, with the version before; if there is none, with nothing."""
    live = live_version(version, environment)
    if live is not None and live.pk != version.pk:
        return compare(version, live, f"live in {environment.name}" if environment else "in force", said=said)
    before = Version.objects.filter(artifact_id=version.artifact_id, number=version.number - 1).first()
    if before is not None:
        return compare(version, before, "the version before", said=said)
    return compare(version, None, "", said=said)


def compare(
    version: Version, base: Version | None, basis: str, *, deep: bool = True, said: Said = NOTHING
) -> Comparison:
    """Compare two versions of one artifact. `deep`: the changed parts of a release as well."""
    new = versions.content_of(version)
    old = versions.content_of(base) if base is not None else None
    kind = version.kind
    return Comparison(
        version,
        base,
        basis if base is not None else "",
        new,
        members=diff.members(_rest(kind, old), _rest(kind, new)) if old is not None else (),
        texts=_compared(version, new, base, old, said),
        parts=_parts(version, new, base, old, said) if deep and kind == Kind.AGENT else (),
        remarks={path: those for (pk, path, line), those in said.items() if pk == version.pk and line is None},
    )


def _compared(
    version: Version, new: Mapping[str, Any], base: Version | None, old: Mapping[str, Any] | None, said: Said
) -> list[Text]:
    after = _texts(version.kind, new)
    before = _texts(version.kind, old) if old is not None else {}
    shown = []
    for name in dict.fromkeys((*after, *before)):
        path, text = after.get(name, ("", ""))
        where, was = before.get(name, ("", ""))
        kind = (path or where).split("/")[1].removesuffix("s") if version.kind == Kind.POLICY else "template"
        if base is None:
            lines = _whole(kind, text)
        elif text == was:
            continue
        else:
            lines = _changed(kind, was, text)
        keys = [_keys(row, version.pk, path, base.pk if base else None, where) for row in lines]
        rows = [
            Row(row.op, row.before, row.after, row.html, [one for key in own for one in said.get(key, ())])
            for row, own in zip(lines, keys, strict=True)
        ]
        kept = frozenset(index for index, row in enumerate(rows) if row.said)
        folds = list(diff.folded(rows, keep=kept)) if base is not None else [(True, rows)]
        added = sum(row.after is not None and row.op != "equal" for row in rows)
        removed = sum(row.before is not None and row.op != "equal" for row in rows)
        shown.append(Text(name, path or where, kind, folds, added, removed))
    return shown


def _keys(row: Row, version: UUID, path: str, base: UUID | None, where: str) -> list[tuple[UUID, str, int | None]]:
    keys: list[tuple[UUID, str, int | None]] = []
    if row.after is not None:
        keys.append((version, path, row.after))
    if row.before is not None and base is not None and base != version:
        keys.append((base, where, row.before))
    return keys


def _whole(kind: str, text: str) -> list[Row]:
    lines = source.rego(_ended(text)) if kind != "template" else [source.plain(line) for line in _split(text)]
    if lines and not lines[-1]:
        lines = lines[:-1]
    return [Row("equal", None, number, html) for number, html in enumerate(lines, 1)]


def _changed(kind: str, before: str, after: str) -> list[Row]:
    if kind == "template":
        return [Row(line.op, line.before, line.after, _inline(line.pieces)) for line in diff.worded(before, after)]
    old, new = source.rego(_ended(before)), source.rego(_ended(after))
    return [
        Row(row.op, row.before, row.after, new[row.after - 1] if row.after else old[(row.before or 1) - 1])
        for row in diff.lines(before, after)
    ]


def _inline(pieces: Iterable[diff.Piece]) -> SafeString:
    forms = {"equal": "{}", "added": "<ins>{}</ins>", "removed": "<del>{}</del>"}
    html = "".join(format_html(forms[piece.op], source.plain(piece.text)) for piece in pieces)
    return mark_safe(html)  # noqa: S308 - each piece is escaped


def _split(text: str) -> list[str]:
    return text.split("\n")


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else text + diff.NO_LINE_END


def _texts(kind: str, content: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the texts of a content that are shown line by line: name -> (JSON pointer, text)."""
    if kind == Kind.PROMPT:
        return {"template": ("/template", str(content.get("template", "")))}
    if kind != Kind.POLICY:
        return {}
    found = {}
    for member in ("modules", "tests"):
        for name, text in sorted(content.get(member, {}).items()):
            label = name if member == "modules" else f"{name} (tests)"
            found[label] = (f"/{member}/{diff.escaped(name)}", str(text))
    return found


def _rest(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in SHOWN_APART.get(kind, ())}


def _parts(
    version: Version, new: Mapping[str, Any], base: Version | None, old: Mapping[str, Any] | None, said: Said
) -> list[Part]:
    pins_now = {(pin["kind"], pin["name"]): pin["digest"] for pin in new["pins"]}
    pins_before = {(pin["kind"], pin["name"]): pin["digest"] for pin in old["pins"]} if old is not None else {}
    digests = {*pins_now.values(), *pins_before.values()}
    rows = Version.objects.filter(workspace_id=version.workspace_id, digest__in=digests).select_related("lifecycle")
    found = {row.digest: row for row in rows}
    parts = []
    for kind, name in sorted({*pins_now, *pins_before}, key=_order):
        digest = pins_now.get((kind, name), "")
        before, after = found.get(pins_before.get((kind, name), "")), found.get(digest)
        if digest and after is None:
            parts.append(Part(kind, name, None, None, lost=digest))
            continue
        comparison = None
        if after is not None and (before is None or before.pk != after.pk):
            basis = f"pinned by version {base.number}" if base is not None and before is not None else ""
            comparison = compare(after, before, basis, said=said)
        parts.append(Part(kind, name, before, after, comparison))
    return sorted(parts, key=lambda part: part.change == "unchanged")


def _order(key: tuple[str, str]) -> tuple[int, str]:
    order = (Kind.PROMPT, Kind.POLICY, Kind.TOOL, Kind.MODEL)
    kind = Kind(key[0])
    return order.index(kind) if kind in order else len(order), key[1]
