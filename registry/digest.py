"""PURE. The digest that names a version: over its kind, name and content, and nothing else."""

from audit import canonical


def of(kind: str, name: str, content: canonical.JSON) -> str:
    """Return `sha256:<hex>` of the canonical `{content, kind, name}`. :raises canonical.NotCanonical: see there."""
    return canonical.sha256({"kind": kind, "name": name, "content": content})
