"""Receivers of the core's signals, by which it informs and asks metering: see `revcred.hooks`."""

from datetime import datetime
from typing import Any

from django.db import connection
from django.db.transaction import on_commit

from metering.bells import claim_bell
from metering.models import Claim
from metering.quarantine.statements import COUNT_WAITING_FOR, FIND_ROWS_WITH_USAGE
from revcred.models import Credential, Product, Subscription, Upload, User
from revcred.models.periods import start_of_second

MAX_CUSTOMERS_LISTED = 10  # in the preview of an upload


def open_claim(
    *,
    cause: str,
    by: User | None,
    since: datetime | None = None,
    credential: Credential | None = None,
    subscription: Subscription | None = None,
    product: Product | None = None,
    upload: Upload | None = None,
    with_sources: bool = False,
    **_: Any,
) -> Claim:
    """Open a claim in the transaction of the change itself, so that none is ever forgotten.

    Without a credential, subscription, product or upload, all of the quarantine is judged again.
    `since`: how far the change reaches back. It is moved to the beginning of its second, because
    a moment in whole seconds stands for any moment of its second.
    """
    claim = Claim.objects.create(
        cause=cause[:200],
        by=by.email if by else "",
        since=start_of_second(since) if since else None,
        credential=credential,
        subscription=subscription,
        product=product,
        upload=upload,
        with_sources=with_sources,
    )
    on_commit(claim_bell.ring)
    return claim


def preview_upload_claim(*, rows: str, **_: Any) -> dict[str, Any]:
    """Count the waiting transactions that an upload would attribute; see `revcred.hooks`."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_WAITING_FOR.format(rows=rows))
        found = cursor.fetchall()
    since = min((oldest for _, _, oldest in found), default=None)
    return {
        "transactions": sum(count for _, count, _ in found),
        "since": since and since.isoformat(),
        "customers": [(customer, count) for customer, count, _ in found[:MAX_CUSTOMERS_LISTED]],
    }


def rows_with_usage(*, rows: str, most: int, **_: Any) -> list[int]:
    """Return the numbers of the rows that have usage; see `revcred.hooks`."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_ROWS_WITH_USAGE.format(rows=rows, most=most))
        return [number for (number,) in cursor.fetchall()]
