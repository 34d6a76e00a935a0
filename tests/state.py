"""What the rows of a workspace are, to compare before and after: nothing may change beside what is on record."""

from django.apps import apps
from django.db.models import ForeignKey, Func, TextField

from registry.models import Workspace

OURS = ("registry", "gateway", "agents")
# Not what is governed: how much is under way right now, and when a key was last used. Content never changes.
PASSING = {"gateway.counter", "gateway.lease"}
LEFT_OUT = ("content", "last_used_at")


def _way(model, seen=()):
    """Return the lookup that leads from a row to its workspace; None if there is none."""
    names = [field.name for field in model._meta.concrete_fields]
    for name in ("workspace", "workspace_id"):
        if name in names:
            return name
    for field in model._meta.concrete_fields:
        target = field.related_model
        if isinstance(field, ForeignKey) and target not in (*seen, model) and target._meta.app_label in OURS:
            further = _way(target, (*seen, model))
            if further:
                return f"{field.name}__{further}"
    return None


_WAYS = {
    model: way
    for model in apps.get_models()
    if model._meta.app_label in OURS and model is not Workspace and model._meta.label_lower not in PASSING
    if (way := _way(model))
}


class _Told(Func):
    """All columns of a row as one short text. The database makes it: rows as Python objects took most of the time."""

    template = "md5(ROW(%(expressions)s)::text)"
    output_field = TextField()


def of(workspace, *, but=()):
    """Return every row of the workspace by table: (key, digest). :param but: tables that do not matter here."""
    found = {}
    for model, way in _WAYS.items():
        label = model._meta.label_lower
        if label not in but:
            columns = [field.attname for field in model._meta.concrete_fields if field.name not in LEFT_OUT]
            rows = model._base_manager.filter(**{way: workspace.pk}).annotate(_told=_Told(*columns))
            found[label] = set(rows.values_list("pk", "_told"))
    return found


def changed(before, after):
    """Return the tables that differ, with what came and what went."""
    return {label: (after[label] - rows, rows - after[label]) for label, rows in before.items() if rows != after[label]}
