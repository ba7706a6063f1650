"""How much waits to be settled: whoever sends more than is settled is told to slow down."""

import time
from collections import Counter

from django.conf import settings
from django.db.models import Sum

from metering.api.authentication import DATABASE_DEADLINE_SECONDS
from metering.api.errors import Overloaded, SlowDown
from metering.models import Delivery
from revcred.postgresql import database_deadline

BACKLOG_CACHE_SECONDS = 1.0  # seconds that a count is believed


class Backlog:
    """Transactions in the inbox, counted once a second, and what this process added since."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Count again, whoever comes."""
        self._waiting: Counter[int] = Counter()
        self._total = 0
        self._read_at = -BACKLOG_CACHE_SECONDS

    def check(self, gateway_id: int) -> None:
        """Raises SlowDown, Overloaded."""
        if time.monotonic() - self._read_at >= BACKLOG_CACHE_SECONDS:
            with database_deadline(DATABASE_DEADLINE_SECONDS):
                self._count()
        if self._total >= settings.MOST_WAITING:
            raise Overloaded
        if self._waiting[gateway_id] >= settings.MOST_WAITING_OF_A_GATEWAY:
            raise SlowDown

    def left_to(self, gateway_id: int) -> int:
        """How many more of the gateway's transactions may wait."""
        most: int = settings.MOST_WAITING_OF_A_GATEWAY
        return max(0, most - self._waiting[gateway_id])

    def add(self, gateway_id: int, transactions: int) -> None:
        self._waiting[gateway_id] += transactions
        self._total += transactions

    def _count(self) -> None:
        counts = Delivery.objects.order_by().values_list("gateway").annotate(Sum("transactions"))
        self._waiting = Counter(dict(counts))
        self._total = self._waiting.total()
        self._read_at = time.monotonic()


backlog = Backlog()
