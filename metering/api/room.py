"""Room for everybody: a gateway that fills the threads makes way for the others."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from metering.api.errors import SlowDown

TOO_MANY_AT_ONCE = "This gateway has most of the requests under way. Send it again."
LATELY = 10.0  # seconds in which a gateway was seen, and may be again


class Room:
    """The requests that are being answered in this process, by gateway.

    When hardly a thread is free, those who have more than their share of them are turned away,
    so that a gateway with little to say need not wait until one with much has said it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: Counter[int] = Counter()
        self._seen_at: dict[int, float] = {}

    @contextmanager
    def of(self, gateway_id: int) -> Iterator[None]:
        """Raises SlowDown."""
        self._enter(gateway_id)
        try:
            yield
        finally:
            with self._lock:
                self._inside[gateway_id] -= 1

    def _enter(self, gateway_id: int) -> None:
        with self._lock:
            self._seen_at[gateway_id] = time.monotonic()
            if self._inside.total() >= settings.MOST_AT_ONCE:
                share = self._inside.total() / self._gateways()
                if self._inside[gateway_id] > share:
                    raise SlowDown(TOO_MANY_AT_ONCE)
            self._inside[gateway_id] += 1

    def _gateways(self) -> int:
        since = time.monotonic() - LATELY
        return sum(seen_at >= since for seen_at in self._seen_at.values())


room = Room()
