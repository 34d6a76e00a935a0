"""Write a workspace's artifacts as manifests: applying them again changes nothing."""

from pathlib import Path
from typing import Any

from registry import versions
from registry.manifests.document import API_VERSION, dump, escape
from registry.models import Kind, Version, Workspace


def export(workspace: Workspace, directory: Path) -> list[Path]:
    """Write the newest version of each artifact below `directory`; return the manifests. Other files stay.

    A policy's modules and tests are files of their own beside its manifest, so that editors and `opa` read them.
    """
    newest = Version.objects.filter(workspace=workspace).order_by("artifact", "-number").distinct("artifact")
    written = []
    for version in newest.select_related("artifact"):
        path = directory / f"{version.kind}s" / f"{version.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        spec = escape(versions.content_of(version))
        if version.kind == Kind.POLICY:
            _split(spec, path)
        document = {
            "apiVersion": API_VERSION,
            "kind": version.kind,
            "metadata": {"name": version.name, "workspace": workspace.slug},
            "spec": spec,
        }
        path.write_text(dump(document), encoding="utf-8")
        written.append(path)
    return sorted(written)


def _split(spec: dict[str, Any], path: Path) -> None:
    for member in ("modules", "tests"):
        for name, text in spec.get(member, {}).items():
            # A test may have a module's name: they lie apart.
            target = path.with_suffix("") / member / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode())
            spec[member][name] = {"$file": str(target.relative_to(path.parent))}
