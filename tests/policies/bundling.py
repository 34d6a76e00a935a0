"""Bundles for tests of the PDP: signed like the bundler's, but of whatever a test wants to see fail."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings

from registry import bundle_keys, bundlefile, digest, policies, rego, rendering, router
from registry.admission import syntax
from registry.models import Bundle, Environment
from tests.policies.inputs import document

OPEN = "package policy\n\nallow := true\n"


@dataclass(frozen=True)
class Published:
    """A bundle row. `policies`: name -> digest."""

    environment: Environment
    revision: str
    policies: dict

    def input(self, release, *changes):
        """Return a decision input for the release policy `release`."""
        place = {
            "agent": {"policy": self.policies[release], "environment": self.environment.name},
            "baseline": self.policies["baseline"],
        }
        return document(place, *changes)


def content(text):
    """Return a policy of one module."""
    return {"modules": {"policy.rego": text}, "data": {}, "tests": {}, "requires": "portable"}


def publish(environment, releases, *, more=None, change=None, key=None, using="bundler", **row):
    """Sign and store a bundle: shipped floor and baseline, and `releases` (name -> Rego text or content).

    :param more: path -> text of files that no bundler would put there.
    :param change: bytes -> bytes, applied after signing. :param row: what its row has otherwise than usual.
    """
    parts = {"floor": policies.shipped("floor"), "baseline": policies.shipped("baseline")}
    parts |= {name: content(one) if isinstance(one, str) else one for name, one in releases.items()}
    digests = {name: digest.of("policy", name, one) for name, one in parts.items()}
    files, rules = {}, {}
    for name, one in parts.items():
        modules = rendering.render(one, digests[name])
        files |= {f"placet/{path}": text for path, text in modules.items()}
        files |= {f"placet/{path}": text for path, text in rendering.render_data(one, digests[name]).items()}
        try:
            trees = rego.parse(modules).values()
            rules[digests[name]] = {rule.name for tree in trees for rule in syntax.rules(tree)}
        except rego.RegoFailed:
            rules[digests[name]] = {"allow"}
    files["placet/router.rego"] = router.generate(
        rules,
        floor=digests["floor"],
        baselines=[digests["baseline"]],
        releases=[digests[name] for name in releases],
    )
    metadata = {"workspace": str(environment.workspace_id), "environment": environment.name, "content": "", "serial": 1}
    metadata |= {"baselines": [digests["baseline"]], "releases": sorted(digests[name] for name in releases)}
    signing = key or bundle_keys.signing(settings.PLACET_KEYS)
    raw, manifest = bundlefile.pack(files | (more or {}), metadata, key=signing)
    store(environment, change(raw) if change else raw, manifest, using=using, **row)
    return Published(environment, manifest["revision"], digests)


def store(environment, raw, manifest, *, revision=None, using="bundler", **row):
    """Insert the row as the bundler's role may."""
    Bundle.objects.using(using).create(
        workspace_id=environment.workspace_id,
        environment=environment,
        revision=revision or manifest["revision"],
        content=raw,
        manifest=manifest,
        created_at=datetime.now(UTC),
        **row,
    )
