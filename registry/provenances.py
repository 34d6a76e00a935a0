"""Where a version came from, as told by who brought it: append-only rows beside it, outside of its digest."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from audit import canonical
from audit.refusal import Refusal
from registry import contributors, statements
from registry.models import Person, Provenance, Version

TEXTS = {"repository": 500, "commit": 64, "path": 500, "builder": 500}
LISTS = ("identities", "materials", "statements", "parents")


def parse(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a checked copy of `document`.

    :raises Refusal: provenance_invalid or statement_invalid, naming the member.
    """
    if document is not None and not isinstance(document, Mapping):
        raise Refusal("provenance_invalid", "Provenance is an object.", field="/provenance")
    origin = dict(document or {})
    for name, value in origin.items():
        if name in TEXTS:
            good = isinstance(value, str) and len(value) <= TEXTS[name]
        else:
            good = name in LISTS and isinstance(value, list) and len(value) <= 1000
        if name == "identities":
            good = good and all(isinstance(identity, str) and 0 < len(identity) <= 320 for identity in value)
        if not good:
            detail = f"The member {name!r} of provenance is unknown, too long or of the wrong type."
            raise Refusal("provenance_invalid", detail, field=f"/provenance/{name}")
    statements.parse(origin.get("statements", []))
    if len(canonical.dumps(origin)) > 256 * 1024:
        raise Refusal("provenance_invalid", "Provenance has more than 256 KiB.", status=413, field="/provenance")
    return origin


def add(version: Version, origin: Mapping[str, Any], *, actor: Person, now: datetime, credential: str | None) -> bool:
    """Append `origin` and everybody whom it names as a contributor; say whether anything was new."""
    before = version.contributors.count()
    contributors.add(version, actor, how="credential_owner" if credential else "creator", now=now)
    contributors.add_commits(version, origin.get("identities", []), now=now)
    known = version.provenance.filter(by=actor, **{name: origin.get(name, "") for name in TEXTS})
    if origin and not any(all(getattr(row, name) == origin.get(name, []) for name in LISTS) for row in known):
        Provenance.objects.create(version=version, by=actor, at=now, **origin)
        return True
    return version.contributors.count() > before
