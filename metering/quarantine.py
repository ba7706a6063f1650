"""What nobody could be found for: claimed when somebody appears, released when looked at."""

from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet
from django.db.transaction import atomic, on_commit
from django.utils import timezone

from metering.models import Claim, Quarantined
from metering.tasks import claim_bell
from revcred.models import (
    AuditEvent,
    Credential,
    ExternalKey,
    Gateway,
    Product,
    Subscription,
    User,
)


def expect(
    *,
    cause: str,
    by: User | None,
    since: datetime | None = None,
    credential: Credential | None = None,
    subscription: Subscription | None = None,
    product: Product | None = None,
    **_: Any,
) -> Claim:
    """Note, in the transaction of the change itself, that it may concern what waits.

    Without a credential, subscription or product: all of the quarantine is judged again.
    """
    claim = Claim.objects.create(
        cause=cause[:200],
        by=by.email if by else "",
        since=since,
        credential=credential,
        subscription=subscription,
        product=product,
    )
    on_commit(claim_bell.ring)
    return claim


@atomic
def release(transactions: QuerySet[Quarantined], *, by: User, note: str) -> int:
    """Looked at: they leave the open list, and are still claimed if somebody appears."""
    waiting = transactions.filter(released_at=None)
    _record(AuditEvent.Verb.RELEASED, waiting, by, note)
    return waiting.update(released_at=timezone.now(), released_by=by.email, release_note=note)


@atomic
def put_back(transactions: QuerySet[Quarantined], *, by: User) -> int:
    """The opposite of a release."""
    released = transactions.exclude(released_at=None)
    _record(AuditEvent.Verb.PUT_BACK, released, by, "")
    return released.update(released_at=None, released_by="", release_note="")


@atomic
def run_again(transactions: QuerySet[Quarantined], *, cause: str, by: User) -> Claim:
    """Judge what waits under the same key once more, also what could not be processed before.

    Where no credential has the key, that is all of the quarantine.
    """
    transactions.exclude(error="").update(error="")
    marks = transactions.values("fingerprint")
    known = ExternalKey.objects.filter(fingerprint__in=marks).select_related("credential").first()
    return expect(cause=cause, by=by, credential=known.credential if known else None)


def _record(
    verb: AuditEvent.Verb, transactions: QuerySet[Quarantined], by: User, note: str
) -> None:
    """One event for each gateway they came from."""
    counts = dict(transactions.order_by().values_list("gateway").annotate(Count("pk")))
    for pk, gateway in Gateway.objects.in_bulk(counts).items():
        details = {"transactions": counts[pk], "note": note}
        AuditEvent.objects.record(verb, target=gateway, by=by, details=details)
