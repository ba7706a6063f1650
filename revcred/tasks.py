"""Celery tasks of the core. Each takes no arguments, because the table is the queue."""

import os
from threading import Event
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down

from revcred import outbox
from revcred.runtime.schema_version import is_older_than_database
from revcred.uploads.worker import process_in_lanes

HOUR_SECONDS = 60 * 60  # seconds
UPLOADS_NICENESS = 10  # attribution gets the processor first

# An upload may take hours, so the worker stops it between two chunks instead of waiting for it.
_shutdown_requested = Event()


@worker_shutting_down.connect
def _request_shutdown(**_: Any) -> None:
    _shutdown_requested.set()


@shared_task(
    name="revcred.process_uploads",
    acks_late=False,
    time_limit=24 * HOUR_SECONDS,
    soft_time_limit=24 * HOUR_SECONDS,
)
def work_on_uploads() -> None:
    """Work on waiting uploads, in a worker of its own, so that no attribution waits for them."""
    if is_older_than_database():
        return
    os.setpriority(os.PRIO_PROCESS, 0, UPLOADS_NICENESS)
    process_in_lanes(stopping=_shutdown_requested)


@shared_task(name="revcred.send_mail")
def send_mail() -> None:
    """Send the mails that wait in the outbox."""
    outbox.send_waiting_mail()
