"""Whether a transaction has come before, and then when the first of it happened.

What waits to be settled is only known to the process that took it in; its repeats mostly come
later. Being wrong here for a second changes an answer and counts nothing twice.
"""

from collections import OrderedDict
from datetime import datetime

from metering.inbox.calls import Call, dedup_key_of_call
from revcred.models import Gateway

MAX_RECENT_CALLS = 10_000

_recent_moments: OrderedDict[str, datetime] = OrderedDict()


def first_moment(gateway: Gateway, call: Call, remembered: datetime | None) -> datetime:
    """When the first transaction of this id happened: this call's moment if it is the first."""
    if not call.undated:
        return call.occurred_at
    mark = dedup_key_of_call(gateway.pk, call, ids_from_callers=gateway.ids_from_callers)
    moment = _recent_moments.setdefault(mark, remembered or call.occurred_at)
    if len(_recent_moments) > MAX_RECENT_CALLS:
        _recent_moments.popitem(last=False)
    return moment
