"""The one place where the core says that a link between usage and its owner has changed.

Metering listens (see `metering/apps.py`); the core knows nothing of who does. It answers here,
too, what waits for somebody or has been attributed already.
"""

from datetime import datetime
from typing import Any, cast

from django.dispatch import Signal

from revcred.models import Credential, Product, Subscription, Upload, User

link_changed = Signal()
waiting_asked = Signal()
use_asked = Signal()


def announce(
    cause: str,
    *,
    by: User | None,
    since: datetime | None = None,
    credential: Credential | None = None,
    subscription: Subscription | None = None,
    product: Product | None = None,
    upload: Upload | None = None,
) -> None:
    """Say it inside the transaction that changes the link, so that both happen or neither.

    `since` is the moment from which what has been attributed already may be wrong now.
    """
    link_changed.send(
        sender=None,
        cause=cause,
        by=by,
        since=since,
        credential=credential,
        subscription=subscription,
        product=product,
        upload=upload,
    )


def waiting_for(rows: str) -> dict[str, Any]:
    """How many transactions wait, since when, and those of which customers: the first of them.

    `rows` is a query for `customer`, `fingerprint` and `subscription` (its external key), as
    transactions would name them.
    """
    answers = waiting_asked.send(sender=None, rows=rows)
    nothing: dict[str, Any] = {"transactions": 0, "since": None, "customers": []}
    return cast("dict[str, Any]", answers[0][1]) if answers else nothing


def used(rows: str, *, most: int) -> list[int]:
    """The `number` of those that usage has been attributed to, so many at most.

    `rows` is a query for `number`, and `credential_id` or `subscription_ids` or both, `since`.
    """
    answers = use_asked.send(sender=None, rows=rows, most=most)
    return cast("list[int]", answers[0][1]) if answers else []
