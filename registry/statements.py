"""What others state about a version: in-toto statements in DSSE envelopes, verified each time they are read.

Nothing about the outcome is stored, so a key that was revoked a moment ago vouches for nothing any more.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from audit.refusal import Refusal
from registry import dsse
from registry.models import Environment, Provenance, Signer, Version

MOST = 20  # statements that come with one provenance
EVIDENCE = "provenance"  # what a gate of the charter calls a verified statement of a build
BUILT = "https://slsa.dev/provenance/"  # predicate types that tell of a build; a scan may tell of a failure
Verdict = Literal["verified", "unconfirmed", "subject_other", "signer_unknown", "malformed"]


@dataclass(frozen=True, slots=True)
class Told:
    """One statement about a version, and what it is worth now.

    :param verdict: verified; unconfirmed: verified by a key that no second admin has confirmed; subject_other: a known
        key signed it, about other bytes; signer_unknown: no standing key signed it; malformed: from before they were
        checked on entry.
    :param signer: whose key it is, where one is known. :param at: when it was first brought.
    :param payload: `sha256:` of what was signed.
    """

    verdict: Verdict
    predicate_type: str
    predicate: Mapping[str, Any]
    signer: Signer | None
    at: datetime
    payload: str = ""


def parse(envelopes: Sequence[object]) -> None:
    """Refuse what is no envelope with a statement. :raises Refusal: statement_invalid, naming the member."""
    if len(envelopes) > MOST:
        raise Refusal("statement_invalid", f"At most {MOST} statements come at once.", field="/provenance/statements")
    for number, envelope in enumerate(envelopes):
        try:
            dsse.parse(envelope)
        except dsse.Malformed as error:
            detail = f"Statement {number} is no in-toto statement in a DSSE envelope: {error}."
            raise Refusal("statement_invalid", detail, field=f"/provenance/statements/{number}") from error


def read(versions: Iterable[Version]) -> dict[UUID, list[Told]]:
    """Return, by version, its statements as verified now, the oldest first. Two queries for any number of versions."""
    by_id = {version.pk: version for version in versions}
    rows = Provenance.objects.filter(version__in=by_id).exclude(statements=[]).order_by("at", "id")
    found: dict[UUID, list[Told]] = {}
    listed = list(rows)
    if not listed:
        return found
    workspaces = {by_id[row.version_id].workspace_id for row in listed}
    signers = list(Signer.objects.filter(workspace__in=workspaces, revoked_at=None).order_by("added_at", "id"))
    keys = [(signer, dsse.load_key(signer.public_key)) for signer in signers]
    seen: dict[tuple[UUID, str], datetime] = {}
    for row in listed:
        version = by_id[row.version_id]
        own = [(signer, key) for signer, key in keys if signer.workspace_id == version.workspace_id]
        for one in row.statements:
            told = _told(one, version, own, row.at)
            first = seen.setdefault((version.pk, told.payload), told.at)
            found.setdefault(version.pk, []).append(replace(told, at=first))
    return found


def vouched(version: Version, environment: Environment | None, *, since: datetime) -> bool:
    """Say whether a standing key says how these bytes were built, in a statement that was first brought after `since`.

    Only the first time counts: an old statement that is brought again is no fresh one.
    """
    strict = environment is None or environment.protected
    good = {"verified"} if strict else {"verified", "unconfirmed"}
    told = read([version]).get(version.pk, [])
    return any(one.verdict in good and one.at > since and one.predicate_type.startswith(BUILT) for one in told)


def recorded(envelopes: Sequence[object]) -> list[dict[str, str]]:
    """Return what the trail says of statements that came with a version: their type and the digest of each."""
    return [{"predicate_type": one.predicate_type, "payload": digest_of(one)} for one in map(dsse.parse, envelopes)]


def digest_of(statement: dsse.Statement) -> str:
    """Return `sha256:` of the bytes that were signed: the same however they were wrapped."""
    return f"sha256:{hashlib.sha256(statement.payload).hexdigest()}"


def _told(envelope: object, version: Version, keys: Sequence[tuple[Signer, dsse.PublicKey]], at: datetime) -> Told:
    try:
        statement = dsse.parse(envelope)
    except dsse.Malformed:
        return Told("malformed", "", {}, None, at)
    signer = next((signer for signer, key in keys if statement.signed_by(key)), None)
    verdict: Verdict
    if signer is None:
        verdict = "signer_unknown"
    elif version.digest.removeprefix("sha256:") not in statement.subjects:
        verdict = "subject_other"
    else:
        verdict = "verified" if signer.confirmed_at else "unconfirmed"
    return Told(verdict, statement.predicate_type, statement.predicate, signer, at, digest_of(statement))
