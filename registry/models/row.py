"""What every row of the registry has: a time-ordered id. And the "what changed here" view for people."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from simple_history.models import HistoricalRecords

from audit.uuid7 import uuid7


class Row(models.Model):
    """A row with a uuid7 as primary key, made in Python."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta:
        abstract = True


def history(*, without: tuple[str, ...] = ()) -> Any:
    """Return the change history of a mutable model. It serves people and is not evidence: that is the trail."""
    return HistoricalRecords(
        history_id_field=models.UUIDField(default=uuid7), excluded_fields=list(without), get_user=_person
    )


def _person(instance: object, request: Any = None, **_: object) -> Any:
    """Return the person behind a request; None for a credential: who it was stands in the trail."""
    user = getattr(request, "user", None)
    return user if isinstance(user, models.Model) and user.pk is not None else None


def texts(**options: Any) -> Any:
    """Return a column of short texts, empty by default."""
    return ArrayField(models.TextField(), default=list, blank=True, **options)
