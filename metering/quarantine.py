"""What nobody could be found for: claimed when somebody appears, released when looked at."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, models
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.db.transaction import atomic, on_commit
from django.utils import timezone

from metering import partitions, statements
from metering.models import Claim, Quarantined, Reason, Transaction, Usage
from metering.tasks import claim_bell
from revcred.links import Lately
from revcred.models import (
    AuditEvent,
    Credential,
    ExternalKey,
    Gateway,
    Product,
    Subscription,
    Upload,
    User,
)
from revcred.models.gateways import longest_possible_age
from revcred.models.periods import second_of

MOST_PREVIEWED = 10_000  # calls
NAMED_AT_MOST = 10_000  # transactions looked through for one name
CUSTOMERS_NAMED = 10  # of those an upload would claim for


def expect(
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
    """Note, in the transaction of the change itself, that it may concern what waits.

    Without a credential, subscription, product or upload: all of the quarantine is judged again.
    Calls that are said in whole seconds may be of any moment of theirs, so `since` reaches back to
    the beginning of its second.
    """
    claim = Claim.objects.create(
        cause=cause[:200],
        by=by.email if by else "",
        since=second_of(since) if since else None,
        credential=credential,
        subscription=subscription,
        product=product,
        upload=upload,
        with_sources=with_sources,
    )
    on_commit(claim_bell.ring)
    return claim


def waiting_for(*, rows: str, **_: Any) -> dict[str, Any]:
    """What an upload would claim; see `revcred.links`."""
    with connection.cursor() as cursor:
        cursor.execute(statements.WAITING_FOR.format(rows=rows))
        found = cursor.fetchall()
    since = min((each for _, _, each in found), default=None)
    return {
        "transactions": sum(count for _, count, _ in found),
        "since": since and since.isoformat(),
        "customers": [(customer, count) for customer, count, _ in found[:CUSTOMERS_NAMED]],
    }


def used(*, rows: str, most: int, **_: Any) -> list[int]:
    """What usage hangs on; see `revcred.links`."""
    with connection.cursor() as cursor:
        cursor.execute(statements.USED.format(rows=rows, most=most))
        return [number for (number,) in cursor.fetchall()]


def used_lately(
    *,
    credential: Credential | None,
    subscription: Subscription | None,
    named: str | None,
    days: int,
    **_: Any,
) -> Lately:
    """Calls of the last days, and the last hour with any; see `revcred.links`."""
    if named is not None:
        return _named_lately(subscription, named, days)
    usage = Usage.objects.filter(hour__gte=timezone.now() - timedelta(days=days), count__gt=0)
    if credential:
        usage = usage.filter(credential=credential)
    if subscription:
        usage = usage.filter(subscription=subscription)
    # A call is counted once for each of its elements: most have one, and all the same.
    by_element = usage.order_by().values_list("element").annotate(Sum("count"), Max("hour"))
    found = list(by_element)
    calls = max((count for _, count, _ in found), default=0)
    return Lately(calls, max((hour for _, _, hour in found), default=None))


def _named_lately(subscription: Subscription | None, named: str, days: int) -> Lately:
    """The same of what names the subscription so, of the ledger's latest NAMED_AT_MOST."""
    since = timezone.now() - timedelta(days=days)
    latest = Transaction.objects.standing().filter(subscription=subscription)
    moments = [
        at
        for name, at in latest.filter(occurred_at__gte=since)
        .order_by("-occurred_at")
        .values_list("subscription_named", "occurred_at")[:NAMED_AT_MOST]
        if name == named
    ]
    last = max(moments, default=None)
    return Lately(len(moments), last and last.replace(minute=0, second=0, microsecond=0))


class CountAt(models.TextChoices):
    """At which moment calls count whose moment is outside the window."""

    SAID = "said", "At the moment they say"
    ARRIVAL = "arrival", "At the moment they arrived"


@dataclass(frozen=True, kw_only=True)
class Share:
    """Some of the calls that an admin chooses a moment for, and what would become of them."""

    calls: int
    subscription: Subscription | None = None
    reason: Reason | None = None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What choosing this moment would do, of the first calls if there are very many."""

    shares: list[Share]
    beyond: int  # calls of days that the ledger does not hold, which would stay as they are
    is_cut: bool


def countable(at: CountAt, now: datetime) -> Q:
    """Those whose moment the ledger holds, so that they may count then."""
    if at == CountAt.ARRIVAL:
        return Q(outside=True)
    ahead = now + timedelta(minutes=settings.NEWEST_TRANSACTION_MINUTES)
    oldest = now - timedelta(days=longest_possible_age())
    return Q(outside=True, occurred_at__gte=oldest, occurred_at__lte=ahead)


def preview_of_moments(transactions: QuerySet[Quarantined], at: CountAt) -> Preview:
    """Judge them as if they counted at these moments, and change nothing."""
    outside = transactions.filter(outside=True)
    chosen = transactions.filter(countable(at, timezone.now()))
    numbers = list(chosen.order_by("pk").values_list("pk", flat=True)[: MOST_PREVIEWED + 1])
    with connection.cursor() as cursor:
        cursor.execute(statements.WOULD_COUNT[at], {"chosen": numbers[:MOST_PREVIEWED]})
        found = cursor.fetchall()
    subscriptions = Subscription.objects.select_related("customer").in_bulk(
        {pk for pk, _, _ in found if pk}
    )
    shares = [
        Share(
            calls=calls,
            subscription=None if reason else subscriptions.get(pk),
            reason=Reason(reason) if reason else None,
        )
        for pk, reason, calls in found
    ]
    most = MOST_PREVIEWED + 1
    beyond = outside.exclude(countable(at, timezone.now())).values("pk")[:most].count()
    return Preview(shares=shares, beyond=beyond, is_cut=len(numbers) > MOST_PREVIEWED)


@atomic
def choose_moments(transactions: QuerySet[Quarantined], *, at: CountAt, by: User) -> int:
    """Say at which moment these calls count, and have them judged by it.

    What they said is kept: as their moment, or among their metadata as `occurred_at_said`.
    """
    chosen = transactions.filter(countable(at, timezone.now()))
    numbers = list(chosen.select_for_update().values_list("pk", flat=True))
    if not numbers:
        return 0
    locked = Quarantined.objects.filter(pk__in=numbers)
    _record(AuditEvent.Verb.MOMENTS_CHOSEN, locked, by, str(CountAt(at).label))
    marks = list(locked.order_by().values_list("fingerprint", flat=True).distinct())
    known = ExternalKey.objects.filter(fingerprint__in=locked.values("fingerprint"))
    if at == CountAt.SAID:
        days = set(locked.order_by().values_list(TruncDate("occurred_at", tzinfo=UTC), flat=True))
        locked.update(outside=False)
        partitions.ensure_days(sorted(days))
    else:
        with connection.cursor() as cursor:
            cursor.execute(statements.COUNT_AT_ARRIVAL, {"chosen": numbers})
    cause = f"“{by}” had calls counted {CountAt(at).label.lower()}"
    owners = set(known.values_list("credential", flat=True))
    whole = len(owners) != 1 or len(marks) != 1
    credential = None if whole else Credential.objects.get(pk=owners.pop())
    expect(cause=cause, by=by, credential=credential)
    return len(numbers)


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
