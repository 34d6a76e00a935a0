"""Celery's edge of the executor: a message carries a step id, and is believed nothing else."""

from typing import Any
from uuid import UUID

import structlog
from celery import shared_task

from agents import executor
from agents.doorbell import TASK

log = structlog.get_logger(__name__)


@shared_task(name=TASK, ignore_result=True)
def advance_step(step_id: object = None, *_: Any, **__: Any) -> None:
    """Advance the step if it is due; a message that names none is ignored."""
    try:
        step = UUID(step_id) if isinstance(step_id, str) else None
    except ValueError:
        step = None
    if step is None:
        log.warning("a message names no step")
        return
    executor.advance(step)
