"""What bells call for. The table is the queue, so that a task carries nothing."""

import os
from threading import Event
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down

from revcred import outbox
from revcred.uploads.worker import work

HOUR = 60 * 60  # seconds
POLITE = 10  # how far behind others this process stands for the processor

_stopping = Event()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()


@shared_task(
    name="revcred.uploads", acks_late=False, time_limit=24 * HOUR, soft_time_limit=24 * HOUR
)
def work_on_uploads() -> None:
    """In a worker of its own, so that no settlement ever waits for a list."""
    os.setpriority(os.PRIO_PROCESS, 0, POLITE)
    work(stopping=_stopping)


@shared_task(name="revcred.send_mail")
def send_mail() -> None:
    """Send what waits in the outbox."""
    outbox.send_waiting_mail()
