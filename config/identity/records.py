"""What changes in allauth's own rows is a record, in the same transaction or not at all.

allauth tells of a new factor after the commit, when nothing can be refused any more; so we listen to the rows. Each
handler runs before its row is written, and `people.record` refuses outside a transaction.
"""

from typing import Any

from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.db.models.signals import pre_delete, pre_save
from django.dispatch import receiver
from django.utils import timezone

from config.identity.adapters import correlation_id
from registry import people
from registry.models import Person


@receiver(pre_save, sender=Authenticator)
def factor_saved(instance: Authenticator, update_fields: Any = None, **_: Any) -> None:
    """Record a new factor, and a recovery code that was used up."""
    if instance._state.adding:
        _record("registry.factor.added", instance, {"type": str(instance.type)})
    elif instance.type == Authenticator.Type.RECOVERY_CODES and update_fields is None:
        left = len(instance.wrap().get_unused_codes())
        _record("registry.recovery_code.used", instance, {"left": left})


@receiver(pre_delete, sender=Authenticator)
def factor_deleted(instance: Authenticator, **_: Any) -> None:
    """Record that a factor is gone."""
    _record("registry.factor.removed", instance, {"type": str(instance.type)})


@receiver(pre_save, sender=SocialAccount)
def identity_saved(instance: SocialAccount, **_: Any) -> None:
    """Record a new link."""
    if instance._state.adding:
        _record("registry.identity.linked", instance, {"provider": instance.provider})


@receiver(pre_delete, sender=SocialAccount)
def identity_deleted(instance: SocialAccount, **_: Any) -> None:
    """Record that a link is gone."""
    _record("registry.identity.unlinked", instance, {"provider": instance.provider})


def _record(event: str, row: Any, data: dict[str, object]) -> None:
    """Append the record; the actor is whoever the row or the request names, else the command line."""
    request = context.request
    user = getattr(request, "user", None)
    signed_in = user.actor if isinstance(user, Person) else None
    actor = getattr(row, "linked_by", None) or getattr(row, "removed_by", None) or signed_in
    # Before the last step of a sign-in there is no user yet: it is the person whose factor it is.
    actor = actor or (row.user.actor if request is not None else people.COMMAND_LINE)
    people.record(event, row.user, actor=actor, now=timezone.now(), correlation_id=correlation_id(request), data=data)
