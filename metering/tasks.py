"""What bells call for. The tables are the queue, so that a task carries nothing."""

import time

from celery import shared_task

from metering import attribution, claims
from revcred.bell import Bell

GATHER = 0.1  # seconds from one settlement to the next, if there is so little to do


@shared_task(name="metering.settle")
def settle() -> None:
    """Until nothing waits; in between it lets some gather, for few cost nearly as much as many."""
    began = time.monotonic()
    while attribution.settle():
        time.sleep(max(0.0, began + GATHER - time.monotonic()))
        began = time.monotonic()


@shared_task(name="metering.claim")
def claim() -> None:
    claims.work()


bell = Bell("metering.settle")
claim_bell = Bell("metering.claim")
