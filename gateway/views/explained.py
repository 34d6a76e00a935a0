"""Why a call was decided so: each reason with its rule, the release's parts and who approved them, the steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit import records
from gateway.decision import Reason
from gateway.models import Attempt, Call, Hold
from gateway.views import line, rules, told
from registry import policies, versions
from registry.models import Approval, Version


@dataclass(frozen=True, slots=True)
class Told:
    """One reason, the policy that gave it and its rule; None where the policy is not a version, or has no such text."""

    reason: Reason
    tone: str
    version: Version | None
    rule: rules.Rule | None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the release that a call ran under. `asked`: the contract of the call itself."""

    kind: str
    name: str
    digest: str
    version: Version | None
    approvals: Sequence[Approval]
    note: str = ""
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt with its records and the hold that it parked at."""

    attempt: Attempt
    decided: records.Row | None
    outcome: records.Row | None
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Rules:
    """The policies that decided: layer -> version; the floor is shipped and has none."""

    versions: Mapping[str, Version]

    def told(self, pairs: Sequence[tuple[Reason, str]]) -> list[Told]:
        """Return the reasons with their rules."""
        modules = {layer: versions.content_of(version)["modules"] for layer, version in self.versions.items()}
        modules["floor"] = policies.shipped("floor")["modules"]
        return [
            Told(
                reason,
                tone,
                self.versions.get(reason.layer),
                rules.giving(modules[reason.layer], reason.code) if reason.layer in modules else None,
            )
            for reason, tone in pairs
        ]


def rules_of(workspace: UUID, *, policy: str, baseline: str) -> Rules:
    """Return the policies by their digests."""
    wanted = {"release": policy, "baseline": baseline}
    rows = Version.objects.filter(workspace_id=workspace, digest__in=[one for one in wanted.values() if one])
    found = {row.digest: row for row in rows}
    return Rules({layer: found[digest] for layer, digest in wanted.items() if digest in found})


def parts(workspace: UUID, release: Version | None, call: Call, baseline: str) -> list[Part]:
    """Return what the release pins, with who approved each for the environment, then baseline and floor."""
    pins: list[Mapping[str, Any]] = list(versions.content_of(release)["pins"]) if release is not None else []
    if baseline:
        pins.append({"kind": "policy", "name": "baseline", "digest": baseline})
    digests = [pin["digest"] for pin in pins]
    rows = Version.objects.filter(workspace_id=workspace, digest__in=digests).defer("content")
    found = {(row.kind, row.name, row.digest): row for row in rows}
    given: dict[UUID, list[Approval]] = {}
    about = [row.pk for row in found.values()] + ([release.pk] if release else [])
    agreed = Approval.objects.filter(
        version__in=about, environment__name=call.environment, verdict="approve", withdrawn_at=None
    )
    for approval in agreed.select_related("approver").order_by("at"):
        given.setdefault(approval.version_id, []).append(approval)
    listed = [Part("release", release.name, "", release, given.get(release.pk, []))] if release else []
    for pin in pins:
        row = found.get((pin["kind"], pin["name"], pin["digest"]))
        approvals = given.get(row.pk, []) if row else []
        asked = pin["digest"] == call.tool_digest
        listed.append(Part(pin["kind"], pin["name"], pin["digest"], row, approvals, asked=asked))
    if listed:
        note = "shipped with this installation; nobody can switch it off"
        listed.append(Part("policy", "floor", policies.floor_digest(), None, [], note))
    return listed


def tries(call: Call) -> tuple[list[Try], list[records.Row]]:
    """Return the attempts of a call, oldest first, and their records."""
    attempts = list(Attempt.objects.filter(call=call).order_by("number"))
    ids = [record for one in attempts for record in (one.decided_record, one.outcome_record)]
    lines = told.lines(call.workspace_id, ids)
    by_id = {row.id: row for row in lines}
    holds = {hold.attempt: hold for hold in Hold.objects.filter(call=call)}
    return [
        Try(
            one,
            by_id.get(one.decided_record),
            by_id.get(one.outcome_record) if one.outcome_record else None,
            holds.get(one.number),
        )
        for one in attempts
    ], lines


def steps(last: Try, seen: told.Attempt) -> list[line.Step]:
    """Return how an attempt went through the line."""
    return line.steps(
        line.Gone(
            last.attempt.verdict,
            last.attempt.state,
            last.attempt.code,
            seen.document,
            last.decided.body["data"] if last.decided else {"attempt": last.attempt.number},
            last.outcome.body["data"] if last.outcome else None,
            sum(leaf.changed for leaf in seen.leaves),
            seen.erased,
        )
    )
