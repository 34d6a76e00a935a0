"""Bundles: what is live, requested or draining in an environment, rendered, routed, signed and published.

Only the bundler process calls `publish`: it alone can read the signing key. A policy that does not pass the gate
again here is left out, whatever row names it: without a branch in the router its calls are denied, and nobody
else's change.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections, transaction
from django.db.models import Q
from django.db.models.functions import Now
from joserfc.jwk import ECKey

from audit import canonical, crash, log
from audit.refusal import Refusal
from registry import bundle_keys, bundlefile, clock, policies, rego, rendering, router
from registry.admission import bounds, portable, syntax
from registry.models import Activation, Bundle, Environment, Kind, Lifecycle, Slot, Version

ACTOR = "system:bundler"
BASELINE = "baseline"
CHANNEL = "placet_bundle"  # of PostgreSQL's NOTIFY: the payload is the environment's id
Draining = Callable[[UUID, str], Iterable[str]]
_draining: list[Draining] = []


class Unfit(Exception):
    """A policy that may not stand in a bundle."""


@dataclass(frozen=True)
class Rendered:
    """A policy as it stands in a bundle. `rules`: of its root package; `files`: path -> text."""

    digest: str
    files: Mapping[str, str]
    rules: frozenset[str]


@dataclass
class Draft:
    """An unsigned bundle.

    :param baselines, releases: digests of the policies that may stand at each place.
    :param left_out: digest -> why it is not in.
    :param content: digest over all files: equal drafts have equal contents.
    """

    baselines: set[str] = field(default_factory=set)
    releases: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    rendered: dict[str, str] = field(default_factory=dict)
    floor: str = ""
    content: str = ""


def register_draining(provider: Draining) -> None:
    """Let `provider(environment id, using)` name what is still in use: digests of releases or policies."""
    if provider not in _draining:
        _draining.append(provider)


def content_of(environment: UUID, revision: str, *, using: str = "default") -> bytes | None:
    """Return the signed bundle of that revision, None if the environment has none of that name."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT content FROM registry_bundle WHERE environment_id = %s AND revision = %s", [environment, revision]
        )
        row = cursor.fetchone()
    return bytes(row[0]) if row else None


def signed_by(environment: UUID, revision: str, key: str) -> bytes:
    """Return the bundle of that revision with the signature of the key of that name.

    :raises Refusal: bundle_key_unknown: no key of that name signed it.
    """
    row = Bundle.objects.get(environment=environment, revision=revision)
    signers = row.manifest["metadata"].get("signers", [])
    if key in ("", *signers[:1]) or not signers:
        return bytes(row.content)
    if key not in row.signatures:
        detail = "No key of this name signs bundles; pin the one that `manage.py keys list` shows."
        raise Refusal("bundle_key_unknown", detail, status=404, field="keyid")
    return bundlefile.with_signature(bytes(row.content), row.signatures[key])


def find(workspace: UUID, environment: str, revision: str, *, using: str = "default") -> bytes | None:
    """Return the signed bundle by the environment's name, as a decision point asks for it."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT bundle.content FROM registry_bundle AS bundle"
            " JOIN registry_environment AS environment ON environment.id = bundle.environment_id"
            " WHERE environment.workspace_id = %s AND environment.name = %s AND bundle.revision = %s",
            [workspace, environment, revision],
        )
        row = cursor.fetchone()
    return bytes(row[0]) if row else None


def mark() -> tuple[int, UUID | None]:
    """Return what differs once another bundle is published: how many there are, and the id of the latest.

    Their number, too: ids follow the clock of who made them, and one of a clock that was ahead stays the latest.
    """
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM registry_bundle), (SELECT id FROM registry_bundle ORDER BY id DESC LIMIT 1)"
        )
        row = cursor.fetchone()
    return row[0], row[1]


def newest(*, using: str = "default") -> list[tuple[UUID, UUID, str, str]]:
    """Return (environment id, workspace, environment name, revision) of each newest bundle, the latest first."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT environment.id, environment.workspace_id, environment.name, newest.revision"
            " FROM registry_environment AS environment JOIN LATERAL (SELECT id, created_at, revision"
            " FROM registry_bundle AS bundle"
            " WHERE bundle.environment_id = environment.id ORDER BY bundle.created_at DESC, bundle.id DESC LIMIT 1)"
            " AS newest ON true ORDER BY newest.created_at DESC, newest.id DESC"
        )
        return [(row[0], row[1], row[2], row[3]) for row in cursor.fetchall()]


def newest_revision(environment: UUID, *, using: str = "default") -> str | None:
    """Return the revision that was published last, None before the first."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT revision FROM registry_bundle WHERE environment_id = %s ORDER BY created_at DESC, id DESC LIMIT 1",
            [environment],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def build(environment: Environment, *, using: str = "default") -> Draft:
    """Return what the environment's bundle has to hold now."""
    draft = Draft(floor=policies.floor_digest())
    wanted = _wanted(environment, using)
    contents = _contents(environment.workspace_id, {digest for digests in wanted.values() for digest in digests}, using)
    draft.files, draft.rendered = {}, {}
    rules = {}
    for rendered in [_floor(), *_fit(contents, draft.left_out)]:
        rules[rendered.digest] = rendered.rules
        draft.rendered[rendered.digest] = rendering.rendered_hash(rendered.files)
        draft.files |= {f"{bundlefile.ROOT}/{path}": text for path, text in rendered.files.items()}
    draft.baselines = wanted["baseline"] & rules.keys()
    draft.releases = wanted["release"] & rules.keys()
    for digest in (wanted["baseline"] | wanted["release"]) - contents.keys():
        draft.left_out[digest] = "revoked or unknown"
    draft.files[f"{bundlefile.ROOT}/{router.PATH}"] = router.generate(
        rules, floor=draft.floor, baselines=draft.baselines, releases=draft.releases
    )
    draft.content = canonical.sha256(draft.files)
    return draft


def publish(environment_id: UUID, *, now: datetime, using: str = "default") -> str | None:
    """Publish a new bundle of the environment if it has to hold something else than the newest, in one transaction.

    Requested activations that it carries become `published`; those whose policy is unfit become `failed`.

    :return: the new revision, None if the newest bundle still fits.
    """
    with transaction.atomic(using=using):
        environment = Environment.objects.using(using).select_for_update().get(pk=environment_id)
        requested = list(
            Activation.objects.using(using)
            .select_for_update(of=("self",))
            .filter(environment=environment, state="requested")
            .select_related("version", "artifact")
            .order_by("pk")
        )
        draft = build(environment, using=using)
        previous = Bundle.objects.using(using).filter(environment=environment).order_by("-created_at", "-pk").first()
        published = None
        signing, older = bundle_keys.signing(settings.PLACET_KEYS), bundle_keys.older(settings.PLACET_KEYS)
        signers = [bundlefile.key_id(key) for key in (signing, *older)]
        # Signed anew when a key was rotated or retired, too: who pins one key alone must find a bundle by it.
        if previous is None or _signed(previous) != (draft.content, signers):
            published = _insert(environment, draft, previous, keys=[signing, *older], now=now, using=using)
        bundle = published or previous
        assert bundle is not None  # noqa: S101 - one of the two is there
        carried = [one for one in requested if _carry(one, bundle, draft, now=now, using=using)]
        if published is not None and (previous is None or not carried):
            # Nothing waits for it: it is the first, or it only drops what nobody uses any more.
            # Without a row in the history that serves people: no person did this, and the trail has it.
            Environment.objects.using(using).filter(pk=environment.pk).update(bundle_revision=published.revision)
        crash.point("registry.bundle.publishing")
    crash.point("registry.bundle.published")
    return published.revision if published else None


def waiting(*, using: str = "default") -> list[UUID]:
    """Return the environments in which an activation waits for the bundler."""
    rows = Activation.objects.using(using).filter(state="requested", environment__isnull=False)
    return list(rows.order_by("environment").values_list("environment", flat=True).distinct())


def in_use(*, using: str = "default") -> list[UUID]:
    """Return the environments that have a bundle: some may hold what has drained since."""
    return list(Bundle.objects.using(using).order_by("environment").values_list("environment", flat=True).distinct())


def _signed(bundle: Bundle) -> tuple[str, list[str]]:
    """Return the content of a bundle and the names of its signers."""
    metadata = bundle.manifest["metadata"]
    return metadata["content"], metadata.get("signers", [])


def _insert(
    environment: Environment,
    draft: Draft,
    previous: Bundle | None,
    *,
    keys: Sequence[ECKey],
    now: datetime,
    using: str,
) -> Bundle:
    """Sign, store and announce a bundle. `keys`: the newest first, whose signature is in the archive."""
    serial = previous.manifest["metadata"]["serial"] + 1 if previous else 1
    metadata = {
        "workspace": str(environment.workspace_id),
        "environment": environment.name,
        # Makes every publication a revision of its own: what is newest is never a matter of content.
        "serial": serial,
        "content": draft.content,
        "signers": [bundlefile.key_id(key) for key in keys],
        "floor": draft.floor,
        "baselines": sorted(draft.baselines),
        "releases": sorted(draft.releases),
        "rendered": draft.rendered,
    }
    raw, manifest = bundlefile.pack(draft.files, metadata, key=keys[0])
    bundle = Bundle.objects.using(using).create(
        workspace_id=environment.workspace_id,
        environment=environment,
        revision=manifest["revision"],
        content=raw,
        manifest=manifest,
        signatures={bundlefile.key_id(key): bundlefile.countersign(raw, key=key) for key in keys[1:]},
        created_at=clock.read(using=using),
    )
    with connections[using].cursor() as cursor:
        # Heard when we commit, by whoever waits for it (registry.waiters).
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(environment.pk)])
    log.append(
        "registry.bundle.published",
        workspace=environment.workspace_id,
        actor=ACTOR,
        correlation_id=f"bundle-{bundle.pk}",
        now=now,
        subjects={"revision": bundle.revision, "sha256": hashlib.sha256(raw).hexdigest()},
        data={
            "environment": environment.name,
            "serial": serial,
            "floor": draft.floor,
            "baselines": sorted(draft.baselines),
            "releases": sorted(draft.releases),
            "left_out": dict(sorted(draft.left_out.items())),
        },
        using=using,
    )
    return bundle


def _carry(activation: Activation, bundle: Bundle, draft: Draft, *, now: datetime, using: str) -> bool:
    """Say in its row whether `bundle` holds what the activation needs; return whether it does."""
    needed = _policy_of(activation.version)
    carried = needed in (draft.baselines if activation.version.kind == Kind.POLICY else draft.releases)
    if carried:
        activation.state, activation.revision = "published", bundle.revision
        activation.published_at = clock.read(using=using)
        activation.save(using=using, update_fields=["state", "revision", "published_at"])
    else:
        activation.state, activation.failure, activation.finished_at = "failed", "policy_unfit", now
        activation.save(using=using, update_fields=["state", "failure", "finished_at"])
    what = {"revision": bundle.revision} if carried else {"failure": "policy_unfit", "why": draft.left_out.get(needed)}
    log.append(
        f"registry.activation.{'published' if carried else 'failed'}",
        workspace=activation.workspace_id,
        actor=ACTOR,
        correlation_id=f"activation-{activation.pk}",
        now=now,
        subjects={"activation": str(activation.pk), "version": activation.version.digest},
        data=what,
        using=using,
    )
    return carried


def _wanted(environment: Environment, using: str) -> dict[str, set[str]]:
    """Return the digests of policies by place: live, about to be, coming back, and still in use."""
    slots = Slot.objects.using(using).filter(environment=environment, version__isnull=False)
    live = slots.filter(Q(expires_at=None) | Q(expires_at__gt=Now())).select_related("version")
    pending = Activation.objects.using(using).filter(environment=environment, state__in=["requested", "published"])
    versions = [slot.version for slot in live if slot.version is not None]
    versions += [activation.version for activation in pending.select_related("version")]
    # What stood in the slot before a break-glass comes back by itself: it must be there when it does.
    broken = Activation.objects.using(using).filter(
        environment=environment, kind="break_glass", state="live", reverted_at=None, previous__isnull=False
    )
    versions += [activation.previous for activation in broken.select_related("previous") if activation.previous]
    used = {digest for provider in _draining for digest in provider(environment.pk, using)}
    kinds = [Kind.AGENT, Kind.POLICY]
    versions += Version.objects.using(using).filter(
        workspace_id=environment.workspace_id, digest__in=used, kind__in=kinds
    )
    wanted: dict[str, set[str]] = {"baseline": set(), "release": set()}
    for version in versions:
        if version.kind == Kind.AGENT:
            wanted["release"].add(_policy_of(version))
        elif version.kind == Kind.POLICY and version.digest in used:
            wanted["release"].add(version.digest)
        elif version.kind == Kind.POLICY and version.name == BASELINE:
            wanted["baseline"].add(version.digest)
    return wanted


def _policy_of(version: Version) -> str:
    """Return the digest of the policy that a version brings: its own, or that of a release."""
    if version.kind == Kind.POLICY:
        return version.digest
    pins = canonical.loads(bytes(version.content), max_bytes=1 << 20, field="content")["pins"]
    return next((str(pin["digest"]) for pin in pins if pin["kind"] == Kind.POLICY), "")


def _contents(workspace: UUID, digests: set[str], using: str) -> dict[str, bytes]:
    """Return digest -> canonical content of the policies that are not revoked."""
    rows = Version.objects.using(using).filter(workspace_id=workspace, kind=Kind.POLICY, digest__in=digests)
    revoked = Lifecycle.objects.using(using).filter(version__in=rows, state="revoked").values_list("version", flat=True)
    gone = set(revoked)
    return {row.digest: bytes(row.content) for row in rows if row.pk not in gone}


def _fit(contents: Mapping[str, bytes], left_out: dict[str, str]) -> Iterable[Rendered]:
    for digest, raw in sorted(contents.items()):
        try:
            yield _render(digest, raw)
        except Unfit as error:
            left_out[digest] = str(error)[:300]


def _floor() -> Rendered:
    return _render(policies.floor_digest(), canonical.dumps(policies.shipped("floor")))


@functools.lru_cache(maxsize=1024)
def _render(digest: str, raw: bytes) -> Rendered:
    """Render a policy and hold it against the gate once more. :raises Unfit:"""
    content: dict[str, Any] = canonical.loads(raw, max_bytes=1 << 20, field="content")
    root, data = rendering.root(digest), content.get("data") or {}
    try:
        modules = rendering.render(content, digest)
        # The parser of the bundler is the same as admission's: nothing deep may reach it.
        if max(map(rendering.deepest, content["modules"].values())) > bounds.MAX_BRACKETS:
            raise Unfit("its brackets nest too deep")
        trees = rego.parse(modules)
    except (rendering.NotRenderable, rego.RegoFailed) as error:
        raise Unfit(str(error)) from error
    problems = portable.check(trees, modules, root=root, data=data)
    if problems:
        raise Unfit(problems[0])
    names = {rule.name for tree in trees.values() if _at_root(tree) for rule in syntax.rules(tree)}
    return Rendered(digest, {**modules, **rendering.render_data(content, digest)}, frozenset(names))


def _at_root(tree: Any) -> bool:
    package = syntax.package(tree)
    return package is not None and len(package.parts) == 1
