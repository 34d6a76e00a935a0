"""PURE but for writing files: artifacts as manifests below a directory; applying them again changes nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit.refusal import Refusal
from registry.manifests.document import API_VERSION, dump, escape

POLICY = "policy"


def place(directory: Path, kind: str, name: str) -> Path:
    """Return where an artifact's manifest lies below `directory`: `policies/baseline.yaml`."""
    folder = "policies" if kind == POLICY else f"{kind}s"
    return directory / folder / f"{name}.yaml"


def write(directory: Path, *, workspace: str, kind: str, name: str, content: Mapping[str, Any]) -> Path:
    """Write one artifact below `directory` and return its manifest. Other files stay.

    A policy's modules and tests are files of their own beside its manifest, so that editors and `opa` read them.

    :raises Refusal: path_outside, if kind, name or a module's name would lead out of the directory.
    """
    path = _below(directory, place(directory, kind, name))
    spec = escape(dict(content))
    if kind == POLICY:
        _split(spec, path, directory)
    document = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "workspace": workspace},
        "spec": spec,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(document), encoding="utf-8")
    return path


def _split(spec: dict[str, Any], path: Path, directory: Path) -> None:
    for member in ("modules", "tests"):
        for name, text in spec.get(member, {}).items():
            # A test may have a module's name: they lie apart.
            target = _below(directory, path.with_suffix("") / member / name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode())
            spec[member][name] = {"$file": str(target.relative_to(path.parent))}


def _below(directory: Path, path: Path) -> Path:
    """Return `path`. A server that is not ours, or not honest, must not choose which files are written."""
    if not path.resolve().is_relative_to(directory.resolve()):
        raise Refusal("path_outside", f"{path} lies outside of {directory}; nothing was written there.")
    return path
