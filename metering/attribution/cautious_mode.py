"""Cautious mode of a worker: smaller batches, each attempt on record before it is made."""

from time import monotonic

from django.db import connection

from metering.attribution.statements import HAS_FAILED

CAUTIOUS_MODE_SECONDS = 5.0  # seconds


FAILURE_CHECK_INTERVAL_SECONDS = 1.0  # seconds


MAX_TIME_LIMIT_FACTOR = 8


class CautiousMode:
    """Whether this process settles in small company, with each attempt on record before it is made.

    It does so for some seconds after anything failed, after it came upon what failed elsewhere,
    and when it is new: what waits may have killed the one before it.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._until: float | None = None
        self._glance_at = 0.0
        self.patience = 1  # times the usual limits

    def take(self) -> None:
        self._until = monotonic() + CAUTIOUS_MODE_SECONDS

    def be_patient(self) -> None:
        self.patience = min(2 * self.patience, MAX_TIME_LIMIT_FACTOR)

    def is_called_for(self) -> bool:
        if self._until is None or self._glances():
            self.take()
        if self.is_taken():
            return True
        self.patience = 1
        return False

    def is_taken(self) -> bool:
        return self._until is not None and monotonic() < self._until

    def _glances(self) -> bool:
        """Now and then, whether what has been tried before is first in the queue."""
        if monotonic() < self._glance_at:
            return False
        self._glance_at = monotonic() + FAILURE_CHECK_INTERVAL_SECONDS
        with connection.cursor() as cursor:
            cursor.execute(HAS_FAILED)
            return bool(cursor.fetchone()[0])


cautious_mode = CautiousMode()
