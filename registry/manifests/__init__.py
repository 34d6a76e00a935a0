"""GitOps: a workspace's artifacts as YAML files in a repository, in and out without loss."""

from registry.manifests.apply import Applied, apply
from registry.manifests.document import Manifest, read
from registry.manifests.export import export

__all__ = ["Applied", "Manifest", "apply", "export", "read"]
