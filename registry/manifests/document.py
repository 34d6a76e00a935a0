"""PURE but for reading files: YAML manifests of a directory, with the files that they refer to put in.

A manifest is `apiVersion: placet/v1`, `kind`, `metadata: {name, workspace?}` and `spec`, the content of a version. A
mapping `{$file: path}` anywhere in the spec stands for that file beside the manifest: the text, or the parsed value of
a `.json` file. A content that has such a mapping itself writes `$$file`.
"""

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from audit import canonical
from audit.refusal import Refusal

API_VERSION = "placet/v1"
LARGEST_FILE = 1_048_576  # bytes
MOST_FILES = 2000
_REFERENCE = re.compile(r"\$+file")


@dataclass(frozen=True)
class Manifest:
    """One document.

    :param files: the manifest and every file that went into it, below the directory that was read; none over REST.
    :param provenance: where it came from, as registry.provenances takes it; None outside of git.
    """

    kind: str
    name: str
    workspace: str | None
    spec: dict[str, Any]
    source: str
    files: tuple[Path, ...] = ()
    provenance: Mapping[str, Any] | None = None


def read(directory: Path) -> list[Manifest]:
    """Return every manifest below `directory`, by path.

    :raises Refusal: manifest_invalid, naming the file and the member.
    """
    root = directory.resolve()
    if not root.is_dir():
        raise Refusal("manifest_invalid", f"{directory} is not a directory.", field=str(directory))
    paths = sorted(path for path in root.rglob("*") if path.suffix in {".yaml", ".yml"} and path.is_file())
    if not paths or len(paths) > MOST_FILES:
        detail = f"{directory} holds {len(paths)} YAML files; between 1 and {MOST_FILES} are expected."
        raise Refusal("manifest_invalid", detail, field=str(directory))
    manifests = [manifest for path in paths for manifest in _documents(path, root)]
    seen: dict[tuple[str, str], Manifest] = {}
    for manifest in manifests:
        first = seen.setdefault((manifest.kind, manifest.name), manifest)
        if first is not manifest:
            detail = f"{manifest.kind}/{manifest.name} stands in {first.source} and in {manifest.source}; keep one."
            raise Refusal("manifest_invalid", detail, field=manifest.source)
    return manifests


def dump(document: dict[str, Any]) -> str:
    """Return `document` as YAML, long texts as blocks."""
    yaml = YAML()
    yaml.width = 110
    yaml.representer.add_representer(str, _text)
    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def escape(value: Any) -> Any:
    """Return `value` with every mapping that looks like a file reference marked as none."""
    if isinstance(value, dict):
        if len(value) == 1 and _REFERENCE.fullmatch(next(iter(value))):
            return {f"${key}": escape(member) for key, member in value.items()}
        return {key: escape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [escape(member) for member in value]
    return value


def _documents(path: Path, root: Path) -> Iterator[Manifest]:
    source = str(path.relative_to(root))
    yaml = YAML(typ="safe", pure=True)
    try:
        documents = [document for document in yaml.load_all(_bytes(path, root, source)) if document is not None]
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = " ".join(str(error).split())[:400]
        raise Refusal("manifest_invalid", f"{source} is not YAML: {problem}", field=source) from error
    for number, document in enumerate(documents, start=1):
        yield _manifest(document, path, root, f"{source}, document {number}" if len(documents) > 1 else source)


def _manifest(document: Any, path: Path, root: Path, source: str) -> Manifest:
    def refuse(detail: str) -> Refusal:
        return Refusal("manifest_invalid", f"{source}: {detail}", field=source)

    if not isinstance(document, dict) or document.keys() != {"apiVersion", "kind", "metadata", "spec"}:
        raise refuse("a manifest has exactly apiVersion, kind, metadata and spec.")
    if document["apiVersion"] != API_VERSION:
        raise refuse(f"apiVersion must be {API_VERSION}, got {document['apiVersion']!r}.")
    metadata = document["metadata"]
    if not isinstance(metadata, dict) or not {"name"} <= metadata.keys() <= {"name", "workspace"}:
        raise refuse("metadata has a name and, if you like, a workspace; nothing else.")
    if not all(isinstance(value, str) for value in (document["kind"], *metadata.values())):
        raise refuse("kind, metadata.name and metadata.workspace are texts; put them in quotes.")
    if not isinstance(document["spec"], dict):
        raise refuse("spec must be a mapping: the content of the version.")
    files = [path]
    spec = _resolved(document["spec"], path, root, source, files)
    return Manifest(document["kind"], metadata["name"], metadata.get("workspace"), spec, source, tuple(files))


def _resolved(value: Any, path: Path, root: Path, source: str, files: list[Path]) -> Any:
    if isinstance(value, dict):
        key = next(iter(value), None)
        if len(value) == 1 and isinstance(key, str) and _REFERENCE.fullmatch(key):
            if key == "$file":
                return _file(value[key], path, root, source, files)
            return {key[1:]: _resolved(value[key], path, root, source, files)}
        if not all(isinstance(name, str) for name in value):
            raise Refusal("manifest_invalid", f"{source}: every key is a text; quote numbers and dates.", field=source)
        return {name: _resolved(member, path, root, source, files) for name, member in value.items()}
    if isinstance(value, list):
        return [_resolved(member, path, root, source, files) for member in value]
    # YAML reads 2027-01-31 as a date; contents are JSON.
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def _file(name: Any, path: Path, root: Path, source: str, files: list[Path]) -> Any:
    if not isinstance(name, str):
        raise Refusal("manifest_invalid", f"{source}: $file names a path, got {name!r}.", field=source)
    target = (path.parent / name).resolve()
    raw = _bytes(target, root, source)
    files.append(target)
    if target.suffix == ".json":
        return canonical.loads(raw, max_bytes=LARGEST_FILE, field=name)
    return raw.decode("utf-8")


def _bytes(path: Path, root: Path, source: str) -> bytes:
    # A reference, or a link, must not read what lies outside of the directory that was given.
    if not path.resolve().is_relative_to(root):
        raise Refusal("manifest_invalid", f"{source}: {path.name} lies outside of the directory.", field=source)
    try:
        if path.stat().st_size > LARGEST_FILE:
            detail = f"{source}: {path.name} has more than {LARGEST_FILE} bytes."
            raise Refusal("manifest_invalid", detail, field=source)
        return path.read_bytes()
    except OSError as error:
        detail = f"{source}: {path.name} cannot be read: {error.strerror}."
        raise Refusal("manifest_invalid", detail, field=source) from error


def _text(representer: Any, text: str) -> Any:
    # A block cannot hold trailing spaces or control characters without loss.
    block = "\n" in text and all(
        line == line.rstrip() and line.isprintable() for line in text.replace("\t", "").split("\n")
    )
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)
