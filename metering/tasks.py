"""What bells call for. The tables are the queue, so that a task carries nothing."""

import time

from celery import shared_task

from metering.attribution import processing
from metering.attribution.cautious_mode import cautious_mode
from metering.bells import inbox_bell
from metering.pairing import completion
from metering.quarantine import reattribution

GATHER_SECONDS = 0.2  # seconds from one settlement to the next, if there is so little to do
MAX_SECONDS_PER_BELL = 5.0  # seconds of settling for one bell


@shared_task(name="metering.settle")
def process_inbox() -> None:
    """Until nothing waits; in between it lets some gather, for few cost nearly as much as many.

    With care it goes on at once, for then many are tried one by one. Where something always waits
    another bell goes on, so that a worker can end between the two.
    """
    began = since = time.monotonic()
    while processing.process_deliveries():
        if began - since > MAX_SECONDS_PER_BELL:
            inbox_bell.ring()
            return
        if not cautious_mode.is_taken():
            time.sleep(max(0.0, began + GATHER_SECONDS - time.monotonic()))
        began = time.monotonic()


@shared_task(name="metering.join")
def pair_partial_transactions() -> None:
    while completion.pair_due_partials():
        inbox_bell.ring()


@shared_task(name="metering.claim")
def work_open_claims() -> None:
    reattribution.work_through_claims()
