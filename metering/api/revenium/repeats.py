"""The moment at which a repeated transaction first came, which Revenium's records repeat.

Waiting transactions are known only to the process that accepted them, and most repeats come after
they are attributed. A wrong moment here changes an answer, but nothing is counted twice.
"""

from collections import OrderedDict
from datetime import datetime

from metering.inbox.calls import Call, dedup_key_of_call
from revcred.models import Gateway

MAX_RECENT_CALLS = 10_000

# By deduplication key, the oldest first, so that a full cache drops the oldest.
_recent_moments: OrderedDict[str, datetime] = OrderedDict()


def first_moment(gateway: Gateway, call: Call, remembered: datetime | None) -> datetime:
    """Return the moment of the first transaction with this id, which may be this call itself.

    `remembered` is the moment that the database knows, if it has seen the id before.
    """
    if not call.undated:
        return call.occurred_at
    dedup_key = dedup_key_of_call(gateway.pk, call, ids_from_callers=gateway.ids_from_callers)
    moment = _recent_moments.setdefault(dedup_key, remembered or call.occurred_at)
    if len(_recent_moments) > MAX_RECENT_CALLS:
        _recent_moments.popitem(last=False)
    return moment
