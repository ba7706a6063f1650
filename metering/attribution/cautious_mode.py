"""Cautious mode of a worker: smaller batches, each attempt on record before it is made."""

from time import monotonic

from django.db import connection

from metering.attribution.statements import HAS_FAILED

CAUTIOUS_MODE_SECONDS = 5.0  # after the last failure
FAILURE_CHECK_INTERVAL_SECONDS = 1.0
MAX_TIME_LIMIT_FACTOR = 8


class CautiousMode:
    """The decision of one worker process to process small batches with recorded attempts.

    A process is in this mode for CAUTIOUS_MODE_SECONDS after a failure of its own, and after it
    found that another process failed. It starts in it, too: a waiting transaction may have killed
    the process before it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Return to the state of a process that has just started."""
        self._until: float | None = None
        self._next_check_at = 0.0
        self.limit_factor = 1  # multiplies the usual time limits

    def enter(self) -> None:
        self._until = monotonic() + CAUTIOUS_MODE_SECONDS

    def extend_limits(self) -> None:
        """Double the time limits, up to MAX_TIME_LIMIT_FACTOR times, while the database is slow."""
        self.limit_factor = min(2 * self.limit_factor, MAX_TIME_LIMIT_FACTOR)

    def should_be_used(self) -> bool:
        """Return True if the next batch has to be processed cautiously; enter the mode if needed.

        Asks the database at most once in FAILURE_CHECK_INTERVAL_SECONDS.
        """
        if self._until is None or self._finds_failed_deliveries():
            self.enter()
        if self.is_on():
            return True
        self.limit_factor = 1
        return False

    def is_on(self) -> bool:
        return self._until is not None and monotonic() < self._until

    def _finds_failed_deliveries(self) -> bool:
        """Return True if a delivery that failed before is due now; False between two checks."""
        if monotonic() < self._next_check_at:
            return False
        # The check costs a query: without a failure it would otherwise slow every batch down.
        self._next_check_at = monotonic() + FAILURE_CHECK_INTERVAL_SECONDS
        with connection.cursor() as cursor:
            cursor.execute(HAS_FAILED)
            return bool(cursor.fetchone()[0])


cautious_mode = CautiousMode()
