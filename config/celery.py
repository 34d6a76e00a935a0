"""Celery is only a doorbell, for steps and for jobs on the trail: JSON ids, no results, no remote control.

What the broker hands us is read by config.broker and config.consumer.
"""

import os

from celery import Celery
from django.conf import settings
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

TRANSPORT_ALIASES.update(redis="config.broker:Transport", rediss="config.broker:Transport")

app = Celery("placet")
app.config_from_object(
    {
        "broker_url": settings.CELERY_BROKER_URL,
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_consumer": "config.consumer:Consumer",
        "worker_max_tasks_per_child": 2000,
        "broker_connection_retry_on_startup": True,
        # A ring that finds no broker fails at once: whoever rings must not wait, and the sweeper rings again.
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "max_retries": 1,
            "interval_start": 0,
            "interval_max": 0,
            "socket_timeout": 5.0,
        },
        "task_default_queue": "placet",
    }
)
app.autodiscover_tasks(["agents", "audit"])
