"""Celery's edge of the trail: a message says that there may be work, and is believed nothing else."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from audit import jobs


@shared_task(name=jobs.TASK, ignore_result=True)
def work(*_: Any, **__: Any) -> None:
    """Do the jobs that wait."""
    jobs.work(timezone.now)
