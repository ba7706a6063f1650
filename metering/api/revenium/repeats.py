"""Whether a transaction has come before, and then when the first of it happened.

What waits to be settled is only known to the process that took it in; its repeats mostly come
later. Being wrong here for a second changes an answer and counts nothing twice.
"""

from collections import OrderedDict
from datetime import datetime

from metering.inbox.calls import Call, identity_of
from revcred.models import Gateway

MOST_KEPT = 10_000

_recent: OrderedDict[str, datetime] = OrderedDict()


def first_moment(gateway: Gateway, call: Call, remembered: datetime | None) -> datetime:
    """When the first transaction of this id happened: this call's moment if it is the first."""
    if not call.undated:
        return call.occurred_at
    mark = identity_of(gateway.pk, call, ids_from_callers=gateway.ids_from_callers)
    moment = _recent.setdefault(mark, remembered or call.occurred_at)
    if len(_recent) > MOST_KEPT:
        _recent.popitem(last=False)
    return moment
