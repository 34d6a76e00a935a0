"""Which keys an installation has, by names that are no secrets: so that a backup can say which ones it needs."""

from collections.abc import Mapping, Sequence

from django.conf import settings

from audit import keys, rotation
from registry import bundle_keys, bundlefile


def inventory() -> dict[str, list[str]]:
    """Return the file of each private key or secret under PLACET_KEYS, with the ids of what is in it."""
    found: dict[str, list[str]] = {}
    for name in rotation.SECRETS:
        if (settings.PLACET_KEYS / name).exists():
            found[name] = [keys.secret_id(raw) for raw in keys.every_secret(name)]
    for path in sorted(settings.PLACET_KEYS.glob("*.key")):
        if path.stem == "receipt" or path.stem.startswith("checkpoint-"):
            found[path.name] = [keys.load(path).id]
    if (settings.PLACET_KEYS / "bundle.key").exists():
        found["bundle.key"] = [bundlefile.key_id(bundle_keys.signing(settings.PLACET_KEYS))]
    return found


def missing(wanted: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the files of `wanted` that are not here, or hold other keys. One that was rotated since is still here.

    Without its public half beside it, a signing key verifies nothing that it signed.
    """
    here = inventory()
    absent = [name for name, ids in wanted.items() if name not in here or set(ids) - _known(name, here[name])]
    signing = [name for name in wanted if name.endswith(".key") and name not in {*rotation.SECRETS, *absent}]
    halves = [f"{name.removesuffix('.key')}.pub" for name in signing]
    return [*absent, *(name for name in halves if not (settings.PLACET_KEYS / name).exists())]


def _known(name: str, ids: Sequence[str]) -> set[str]:
    """Return the ids that count as the key in the file: its own, and those whose public halves are still listed."""
    stem = name.removesuffix(".key")
    if name == "bundle.key":
        return {bundlefile.key_id(key) for key in bundle_keys.pinned(settings.PLACET_KEYS)}
    return {*ids, *(line.split("+")[1] for line in keys.public(stem))} if name.endswith(".key") else set(ids)
