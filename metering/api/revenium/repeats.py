"""Whether a transaction has come before, and then when the first of it happened.

What waits to be settled is only known to the process that took it in; its repeats mostly come
later. Being wrong here for a second changes an answer and counts nothing twice.
"""

from collections import OrderedDict
from datetime import datetime

import psycopg
from django.db import connection

from metering.inbox import AWAY
from metering.ingestion import Call, identity
from revcred.models import Gateway

REMEMBERED = "SELECT occurred_at FROM metering_remembered WHERE identity = %b::uuid"
MOST_KEPT = 10_000

_recent: OrderedDict[str, datetime] = OrderedDict()


def first_moment(gateway: Gateway, call: Call) -> datetime:
    """When the first transaction of this id happened: this call's moment if it is the first.

    What says itself when it happened says so again in a repeat.
    """
    if not call.undated:
        return call.occurred_at
    mark = identity(gateway.pk, call.transaction_id)
    moment = _recent.get(mark)
    if moment is None:
        moment = _remembered(mark) or call.occurred_at
        _recent[mark] = moment
        if len(_recent) > MOST_KEPT:
            _recent.popitem(last=False)
    return moment


def forget() -> None:
    _recent.clear()


def _remembered(mark: str) -> datetime | None:
    """None also when the database is away, for the call is kept by now."""
    try:
        connection.ensure_connection()
        # Not Django's own cursor: asked for every post, it is worth being prepared.
        with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
            found = cursor.execute(REMEMBERED, [mark], prepare=True).fetchone()
    except AWAY:
        connection.close()
        return None
    return found[0] if found else None
