"""The number of waiting transactions: a gateway that fills the inbox is told to slow down."""

import time
from collections import Counter

from django.conf import settings
from django.db.models import Sum

from metering.api.authentication import DATABASE_DEADLINE_SECONDS
from metering.api.errors import Overloaded, SlowDown
from metering.models import Delivery
from revcred.postgresql import database_deadline

BACKLOG_CACHE_SECONDS = 1.0


class Backlog:
    """Transactions in the inbox: counted once a second, plus those this process added since.

    Other processes add transactions, too, and workers take some away. Within one second the
    estimate cannot be far off, and the limits need not be exact.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the count, so that the next check reads it from the database."""
        self._waiting: Counter[int] = Counter()
        self._total = 0
        self._read_at = -BACKLOG_CACHE_SECONDS

    def check(self, gateway_id: int) -> None:
        """Let a gateway post, unless too many transactions wait.

        Raises:
            Overloaded: all gateways together have too many waiting transactions.
            SlowDown: this gateway has too many of them.
        """
        if time.monotonic() - self._read_at >= BACKLOG_CACHE_SECONDS:
            with database_deadline(DATABASE_DEADLINE_SECONDS):
                self._count()
        if self._total >= settings.MAX_BACKLOG:
            raise Overloaded
        if self._waiting[gateway_id] >= settings.MAX_BACKLOG_PER_GATEWAY:
            raise SlowDown

    def remaining_for(self, gateway_id: int) -> int:
        """Return the number of transactions that the gateway may send before it is slowed down."""
        limit: int = settings.MAX_BACKLOG_PER_GATEWAY
        return max(0, limit - self._waiting[gateway_id])

    def add(self, gateway_id: int, transactions: int) -> None:
        self._waiting[gateway_id] += transactions
        self._total += transactions

    def _count(self) -> None:
        # `order_by()` drops the model's ordering, which would become part of the GROUP BY.
        counts = Delivery.objects.order_by().values_list("gateway").annotate(Sum("transactions"))
        self._waiting = Counter(dict(counts))
        self._total = self._waiting.total()
        self._read_at = time.monotonic()


# One for the process: all doors fill the same inbox.
backlog = Backlog()
