"""Who works on a step: a lease by the database's clock, with a fence that a newer claim makes stale."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from agents import endings, progress, states
from agents.models import ENDED_RUN, Run, Step
from audit import crash
from registry import clock

POISON = 3  # claims in a row of which nobody heard again
_DUE = Q(state="ready") | Q(state="retry_at", not_before__lte=Now()) | Q(state="leased", lease_until__lte=Now())
_BEAT = """
UPDATE agents_step SET lease_until = clock_timestamp() + %s * interval '1 s'
WHERE id = %s AND fence = %s AND state = 'leased'
"""


class Overtaken(Exception):
    """Our lease ran out and somebody else has the step: what we know of it counts no more."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Our hold on a step. :param at: the database's time of the claim."""

    step: Step
    run: Run
    fence: int
    at: datetime


def claim(step_id: UUID) -> Claim | None:
    """Take the step if it is due and nobody has it; None otherwise, whatever the reason.

    The attempt counts from here on, before anything is executed: a step that takes its workers down with it is dead
    after POISON times. A run that somebody wants to end, ends here.
    """
    with transaction.atomic():
        due = Step.objects.filter(_DUE, pk=step_id).exclude(run__state__in=ENDED_RUN)
        step = due.select_related("run").select_for_update(of=("self", "run"), skip_locked=True).first()
        if step is None:
            return None
        run, at = step.run, clock.read()
        if run.cancel_requested_at is not None and step.undoes_id is None:
            endings.cancel(run, step, now=at)
            return None
        if step.crashes >= POISON:
            progress.bury(run, step, "poison", now=at)
            return None
        progress.take_up(run, now=at)
        _lease(step, at)
        crash.point("agents.claiming")
    return Claim(step, run, step.fence, at)


@contextlib.contextmanager
def kept(claim: Claim) -> Iterator[None]:
    """Keep the lease of `claim` alive while the block runs. A step that is done before the first beat costs nothing."""
    done = threading.Event()
    thread = threading.Thread(target=_beat, args=(claim, done), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def held(claim: Claim) -> Iterator[tuple[Run, Step, datetime]]:
    """Run the block in a transaction that has locked run and step, with the time of the database.

    :raises Overtaken: the step is somebody else's by now.
    """
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=claim.run.pk)
        step = Step.objects.select_for_update().get(pk=claim.step.pk)
        if step.state != Step.State.LEASED or step.fence != claim.fence:
            raise Overtaken
        yield run, step, clock.read()


def _lease(step: Step, at: datetime) -> None:
    changes = {
        "fence": step.fence + 1,
        "attempts": step.attempts + 1,
        "crashes": step.crashes + 1,
        "lease_owner": f"{socket.gethostname()}/{os.getpid()}",
        "lease_until": at + timedelta(seconds=settings.PLACET_LEASE_SECONDS),
        "not_before": None,
    }
    if step.state != Step.State.LEASED:
        states.move(step, Step.State.LEASED, **changes)
        return
    for name, value in changes.items():
        setattr(step, name, value)
    step.save(update_fields=list(changes))


def _beat(claim: Claim, done: threading.Event) -> None:
    seconds = settings.PLACET_LEASE_SECONDS
    try:
        while not done.wait(seconds / 3):
            try:
                with connection.cursor() as cursor:
                    cursor.execute(_BEAT, [seconds, claim.step.pk, claim.fence])
                    if not cursor.rowcount:
                        return
            except DatabaseError:
                # Nothing to do but to try again: if the lease lapses, the fence keeps us from doing harm.
                connection.close()
    finally:
        connection.close()
