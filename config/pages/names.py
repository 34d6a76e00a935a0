"""Who is meant by an actor of the trail: `person:<uuid>`, `credential:<uuid>`, `system:<process>`."""

import uuid

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from gateway.models import Credential
from registry.models import Person


def identity(actor: str) -> tuple[str, uuid.UUID | None]:
    """Return the kind of an actor and its id; (actor, None) if there is no id in it."""
    kind, _, rest = actor.partition(":")
    try:
        return kind, uuid.UUID(rest)
    except ValueError:
        return actor, None


def shown(request: HttpRequest, who: object) -> SafeString:
    """Return the name of `who` (a person, a person's id or an actor) as HTML. One query for each new name."""
    if who is None or who == "":
        return mark_safe('<span class="muted">nobody</span>')
    if isinstance(who, Person):
        return _person(who)
    kind, id = ("person", who) if isinstance(who, uuid.UUID) else identity(str(who))
    if id is None:
        return format_html("<span>{}</span>", str(who).replace("system:", "the "))
    known: dict[uuid.UUID, SafeString] = request.__dict__.setdefault("placet_names", {})
    if id not in known:
        known[id] = _credential(request, id) if kind == "credential" else _find(request, id)
    return known[id]


def _find(request: HttpRequest, id: uuid.UUID) -> SafeString:
    known: dict[uuid.UUID, Person] | None = request.__dict__.get("placet_people")
    if known is None:
        # Everybody of the workspace at once: pages name a handful of people many times.
        of_workspace = Person.objects.filter(memberships__workspace=request.visit.workspace)  # type: ignore[attr-defined]
        known = request.__dict__["placet_people"] = {person.pk: person for person in of_workspace}
    person = known.get(id) or Person.objects.filter(pk=id).first()
    return _person(person) if person else format_html('<span class="muted" title="{}">somebody unknown</span>', id)


def _person(person: Person) -> SafeString:
    return format_html('<span title="{}">{}</span>', person.username, person.get_full_name())


def _credential(request: HttpRequest, id: uuid.UUID) -> SafeString:
    workspace = request.visit.workspace  # type: ignore[attr-defined]
    credential = Credential.objects.filter(pk=id, workspace=workspace).first()
    if credential is None:
        return format_html('<span class="muted" title="{}">an unknown credential</span>', id)
    if credential.kind == "executor":
        return format_html('<span title="{}">the executor for {}</span>', id, credential.agent)
    if not credential.name:
        return format_html('<span title="{}">a key of {}</span>', id, credential.agent)
    form = '<span title="{}">{} <span class="muted">(key of {})</span></span>'
    return format_html(form, id, credential.name, credential.agent)
