"""Who may decide a parked call: the roles that the policy asks for, and nobody whom the call concerns."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from audit.refusal import Refusal, not_found
from gateway.models import Credential, Hold
from registry import memberships
from registry.models import Environment, Person

DECIDERS = frozenset({"reviewer", "security"})  # who decides when the policy names no role


def meet(row: Hold, approvers: Sequence[Person]) -> bool:
    """Say whether these distinct persons, with the roles they hold now, meet every requirement of the hold."""
    given = counts(row, approvers)
    return all(count >= demand["quorum"] for count, demand in zip(given, row.requirements, strict=True))


def counts(row: Hold, approvers: Sequence[Person]) -> list[int]:
    """Return, for each requirement of the hold, how many of these persons count for it with the roles they hold now."""
    roles = {person.pk: _roles(person, row) for person in approvers}
    return [sum(bool(held & _wanted(demand)) for held in roles.values()) for demand in row.requirements]


def refusal(row: Hold, person: Person) -> Refusal | None:
    """Return why `person` may not decide this hold, None if they may."""
    return refusals([row], person)[0]


def refusals(rows: Sequence[Hold], person: Person) -> list[Refusal | None]:
    """Return `refusal` of each of `rows`, with as many queries for all of them as for one of each environment."""
    owners = _owners(rows)
    workspaces = {row.workspace_id for row in rows}
    member = {workspace for workspace in workspaces if memberships.is_member(person, workspace)}
    held: dict[tuple[UUID, str], frozenset[str]] = {}
    for row in rows:
        place = (row.workspace_id, row.environment)
        if row.workspace_id in member and place not in held:
            held[place] = _roles(person, row)
    return [
        _refusal(row, person, owners, held[row.workspace_id, row.environment])
        if row.workspace_id in member
        else not_found("hold")
        for row in rows
    ]


def _refusal(row: Hold, person: Person, owners: Mapping[str, str], held: frozenset[str]) -> Refusal | None:
    # Who stands behind a credential is as concerned as the credential.
    concerned = _named(row) | {owners[name] for name in _named(row) if name in owners}
    if {person.actor, person.username, person.email} & concerned:
        detail = "The call was made for you or by something you started or answer for; another person has to decide."
        return Refusal("approver_excluded", detail, status=403)
    if not any(held & _wanted(demand) for demand in row.requirements):
        wanted = sorted({role for demand in row.requirements for role in _wanted(demand)})
        return Refusal("approver_role", f"This needs one of the roles {', '.join(wanted)} here.", status=403)
    return None


def _named(row: Hold) -> set[str]:
    """Return the actors and names whom the call concerns."""
    return {name for name in (row.on_behalf_of, row.run_starter, row.session_opener, row.credential_owner) if name}


def _owners(rows: Sequence[Hold]) -> dict[str, str]:
    """Return the actor behind each credential that the rows name, by the credential's own."""
    names = {name for row in rows for name in _named(row) if name.startswith("credential:")}
    if not names:
        return {}
    keys = [name.removeprefix("credential:") for name in names]
    found = Credential.objects.filter(pk__in=keys, owner__isnull=False).values_list("pk", "owner_id")
    return {f"credential:{pk}": f"person:{owner}" for pk, owner in found}


def _roles(person: Person, row: Hold) -> frozenset[str]:
    environment = Environment.objects.filter(workspace_id=row.workspace_id, name=row.environment).first()
    return memberships.roles_of(person, row.workspace_id, environment) if environment else frozenset()


def _wanted(demand: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({demand["role"]}) if demand["role"] else DECIDERS
