"""Write a workspace's artifacts as manifests: applying them again changes nothing."""

from pathlib import Path

from django.db.models import F, QuerySet

from registry import versions
from registry.manifests import files
from registry.models import Version, Workspace


def newest() -> QuerySet[Version]:
    """Return the newest version of each artifact, of every workspace."""
    return Version.objects.filter(number=F("artifact__count")).select_related("artifact", "workspace")


def export(workspace: Workspace, directory: Path) -> list[Path]:
    """Write the newest version of each artifact below `directory`; return the manifests. Other files stay."""
    return sorted(
        files.write(
            directory,
            workspace=workspace.slug,
            kind=version.kind,
            name=version.name,
            content=versions.content_of(version),
        )
        for version in newest().filter(workspace=workspace).iterator(chunk_size=20)
    )
