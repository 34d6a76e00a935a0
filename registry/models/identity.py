"""What proves who a person is, beside allauth's own rows: resets by others, and counts that all web processes share."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from registry.models.people import Person
from registry.models.row import Row


class FactorReset(Row):
    """Somebody else took a person's second factors away, because they were lost. The database's clock sets the times.

    `by` is null for an operator at the command line, who needs no second pair of eyes: they hold the machine. Until
    another admin has confirmed the reset, no role of the person counts in a protected environment; afterwards none
    serves a proposal that was open by then: nobody becomes an approver by having a factor taken away.
    """

    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="factor_resets")
    by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.TextField()
    at = models.DateTimeField()
    confirmed_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="factor_reset_confirmed_by_another",
                condition=Q(confirmed_by=None) | Q(by=None) | ~Q(confirmed_by=models.F("by")),
            ),
            models.CheckConstraint(
                name="factor_reset_not_confirmed_by_themselves",
                condition=Q(confirmed_by=None) | ~Q(confirmed_by=models.F("person")),
            ),
        ]

    def __str__(self) -> str:
        return f"of {self.person_id}"


class Tally(models.Model):
    """A fact that is forgotten again: how often a sign-in was tried, or that a one-time code was used."""

    key = models.TextField(primary_key=True)
    value = models.JSONField()
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key
