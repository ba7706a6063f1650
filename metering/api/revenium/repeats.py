"""The moment at which a repeated transaction first came, which Revenium's records repeat.

Waiting transactions are known only to the process that accepted them, and most repeats come after
they are attributed. A wrong moment here changes an answer, but nothing is counted twice.
"""

from datetime import datetime
from threading import Lock

from cachetools import LRUCache

from metering.inbox.calls import Call, dedup_key_of_call
from revcred.models import Gateway

MAX_RECENT_CALLS = 10_000

_recent_moments: LRUCache[str, datetime] = LRUCache(MAX_RECENT_CALLS)  # by deduplication key
_recent_moments_lock = Lock()


def first_moment(gateway: Gateway, call: Call, remembered: datetime | None) -> datetime:
    """Return the moment of the first transaction with this id, which may be this call itself.

    `remembered` is the moment that the database knows, if it has seen the id before.
    """
    if not call.undated:
        return call.occurred_at
    dedup_key = dedup_key_of_call(gateway.pk, call, ids_from_callers=gateway.ids_from_callers)
    with _recent_moments_lock:
        return _recent_moments.setdefault(dedup_key, remembered or call.occurred_at)
