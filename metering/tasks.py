"""Celery tasks that the bells start. They carry no data, because the tables are the queue."""

import time

from celery import shared_task

from metering.attribution import processing
from metering.attribution.cautious_mode import cautious_mode
from metering.bells import inbox_bell
from metering.pairing import completion
from metering.quarantine import reattribution
from revcred.runtime.schema_version import is_older_than_database

GATHER_SECONDS = 0.2  # from the start of one batch to the next, while there is little to do
MAX_SECONDS_PER_BELL = 5.0


@shared_task(name="metering.process_inbox")
def process_inbox() -> None:
    """Process the inbox until it is empty, or for MAX_SECONDS_PER_BELL and then ring again.

    The pause between two batches lets deliveries gather, since a few cost nearly as much as many.
    In cautious mode there is no pause: batches are small and may be many. Ringing again gives the
    worker a moment at which it can stop.
    """
    began = since = time.monotonic()
    while processing.process_deliveries():
        if began - since > MAX_SECONDS_PER_BELL:
            inbox_bell.ring()
            return
        if not cautious_mode.is_on():
            time.sleep(max(0.0, began + GATHER_SECONDS - time.monotonic()))
        began = time.monotonic()


@shared_task(name="metering.pair_partial_transactions")
def pair_partial_transactions() -> None:
    """Pair partial transactions until none is due; each step may put calls into the inbox."""
    if is_older_than_database():
        return
    while completion.pair_due_partials():
        inbox_bell.ring()


@shared_task(name="metering.work_open_claims")
def work_open_claims() -> None:
    """Re-attribute what open claims concern."""
    if is_older_than_database():
        return
    reattribution.work_through_claims()
