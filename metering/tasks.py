"""What bells call for. The tables are the queue, so that a task carries nothing."""

import time

from celery import shared_task

from metering.attribution import processing
from metering.attribution.cautious_mode import care
from metering.bells import bell
from metering.pairing import completion
from metering.quarantine import reattribution

GATHER = 0.2  # seconds from one settlement to the next, if there is so little to do
ENOUGH = 5.0  # seconds of settling for one bell


@shared_task(name="metering.settle")
def settle() -> None:
    """Until nothing waits; in between it lets some gather, for few cost nearly as much as many.

    With care it goes on at once, for then many are tried one by one. Where something always waits
    another bell goes on, so that a worker can end between the two.
    """
    began = since = time.monotonic()
    while processing.settle():
        if began - since > ENOUGH:
            bell.ring()
            return
        if not care.is_taken():
            time.sleep(max(0.0, began + GATHER - time.monotonic()))
        began = time.monotonic()


@shared_task(name="metering.join")
def join() -> None:
    while completion.join():
        bell.ring()


@shared_task(name="metering.claim")
def claim() -> None:
    reattribution.work()
