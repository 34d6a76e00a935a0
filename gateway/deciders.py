"""Who may decide a parked call: the roles that the policy asks for, and nobody whom the call concerns."""

from collections.abc import Mapping, Sequence
from typing import Any

from audit.refusal import Refusal, not_found
from gateway.models import Credential, Hold
from registry import memberships
from registry.models import Environment, Person

DECIDERS = frozenset({"reviewer", "security"})  # who decides when the policy names no role


def meet(row: Hold, approvers: Sequence[Person]) -> bool:
    """Say whether these distinct persons, with the roles they hold now, meet every requirement of the hold."""
    roles = {person.pk: _roles(person, row) for person in approvers}
    return all(
        sum(bool(held & _wanted(demand)) for held in roles.values()) >= demand["quorum"] for demand in row.requirements
    )


def concerned(row: Hold) -> set[str]:
    """Return the actors and names of those who must not decide this hold."""
    names = {name for name in (row.on_behalf_of, row.run_starter, row.session_opener, row.credential_owner) if name}
    # Who stands behind a credential is as concerned as the credential.
    behind = [name.removeprefix("credential:") for name in names if name.startswith("credential:")]
    owners = Credential.objects.filter(pk__in=behind, owner__isnull=False).values_list("owner_id", flat=True)
    return names | {f"person:{owner}" for owner in owners}


def refusal(row: Hold, person: Person) -> Refusal | None:
    """Return why `person` may not decide this hold, None if they may."""
    if not memberships.is_member(person, row.workspace_id):
        return not_found("hold")
    if {person.actor, person.username, person.email} & concerned(row):
        detail = "The call was made for you or by something you started or answer for; another person has to decide."
        return Refusal("approver_excluded", detail, status=403)
    if not any(_roles(person, row) & _wanted(demand) for demand in row.requirements):
        wanted = sorted({role for demand in row.requirements for role in _wanted(demand)})
        return Refusal("approver_role", f"This needs one of the roles {', '.join(wanted)} here.", status=403)
    return None


def _roles(person: Person, row: Hold) -> frozenset[str]:
    environment = Environment.objects.filter(workspace_id=row.workspace_id, name=row.environment).first()
    return memberships.roles_of(person, row.workspace_id, environment) if environment else frozenset()


def _wanted(demand: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({demand["role"]}) if demand["role"] else DECIDERS
