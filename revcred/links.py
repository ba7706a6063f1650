"""The one place where the core says that a link between usage and its owner has changed.

Metering listens (see `metering/apps.py`); the core knows nothing of who does.
"""

from datetime import datetime

from django.dispatch import Signal

from revcred.models import Credential, Product, Subscription, User

link_changed = Signal()


def announce(
    cause: str,
    *,
    by: User | None,
    since: datetime | None = None,
    credential: Credential | None = None,
    subscription: Subscription | None = None,
    product: Product | None = None,
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
    )
