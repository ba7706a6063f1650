"""What nobody could be found for: claimed when somebody appears, released when looked at."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection, models
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import TruncDate
from django.db.transaction import atomic
from django.utils import timezone

from metering.ledger import partitions
from metering.models import Claim, Quarantined, QuarantineReason
from metering.quarantine.hooks import open_claim
from metering.quarantine.statements import COUNT_AT_ARRIVAL, PREVIEW_MOMENT_CHOICE
from revcred.models import (
    AuditEvent,
    Credential,
    ExternalKey,
    Gateway,
    Subscription,
    User,
)
from revcred.models.gateways import max_accepted_days

MAX_CALLS_PREVIEWED = 10_000  # calls


class MomentChoice(models.TextChoices):
    """At which moment calls count whose moment is outside the window."""

    SAID = "said", "At the moment they say"
    ARRIVAL = "arrival", "At the moment they arrived"


@dataclass(frozen=True, kw_only=True)
class MomentPreviewShare:
    """Some of the calls that an admin chooses a moment for, and what would become of them."""

    calls: int
    subscription: Subscription | None = None
    reason: QuarantineReason | None = None


@dataclass(frozen=True, kw_only=True)
class MomentPreview:
    """What choosing this moment would do, of the first calls if there are very many."""

    shares: list[MomentPreviewShare]
    beyond: int  # calls of days that the ledger does not hold, which would stay as they are
    is_cut: bool


def countable_at(at: MomentChoice, now: datetime) -> Q:
    """Those whose moment the ledger holds, so that they may count then."""
    if at == MomentChoice.ARRIVAL:
        return Q(outside=True)
    ahead = now + timedelta(minutes=settings.NEWEST_TRANSACTION_MINUTES)
    oldest = now - timedelta(days=max_accepted_days())
    return Q(outside=True, occurred_at__gte=oldest, occurred_at__lte=ahead)


def preview_moments(transactions: QuerySet[Quarantined], at: MomentChoice) -> MomentPreview:
    """Judge them as if they counted at these moments, and change nothing."""
    outside = transactions.filter(outside=True)
    chosen = transactions.filter(countable_at(at, timezone.now()))
    numbers = list(chosen.order_by("pk").values_list("pk", flat=True)[: MAX_CALLS_PREVIEWED + 1])
    with connection.cursor() as cursor:
        cursor.execute(PREVIEW_MOMENT_CHOICE[at], {"chosen": numbers[:MAX_CALLS_PREVIEWED]})
        found = cursor.fetchall()
    subscriptions = Subscription.objects.select_related("customer").in_bulk(
        {pk for pk, _, _ in found if pk}
    )
    shares = [
        MomentPreviewShare(
            calls=calls,
            subscription=None if reason else subscriptions.get(pk),
            reason=QuarantineReason(reason) if reason else None,
        )
        for pk, reason, calls in found
    ]
    most = MAX_CALLS_PREVIEWED + 1
    beyond = outside.exclude(countable_at(at, timezone.now())).values("pk")[:most].count()
    return MomentPreview(shares=shares, beyond=beyond, is_cut=len(numbers) > MAX_CALLS_PREVIEWED)


@atomic
def choose_moments(transactions: QuerySet[Quarantined], *, at: MomentChoice, by: User) -> int:
    """Say at which moment these calls count, and have them judged by it.

    What they said is kept: as their moment, or among their metadata as `occurred_at_said`.
    """
    chosen = transactions.filter(countable_at(at, timezone.now()))
    numbers = list(chosen.select_for_update().values_list("pk", flat=True))
    if not numbers:
        return 0
    locked = Quarantined.objects.filter(pk__in=numbers)
    _record_for_each_gateway(
        AuditEvent.Verb.MOMENTS_CHOSEN, locked, by, str(MomentChoice(at).label)
    )
    marks = list(locked.order_by().values_list("fingerprint", flat=True).distinct())
    known = ExternalKey.objects.filter(fingerprint__in=locked.values("fingerprint"))
    if at == MomentChoice.SAID:
        days = set(locked.order_by().values_list(TruncDate("occurred_at", tzinfo=UTC), flat=True))
        locked.update(outside=False)
        partitions.ensure_partitions_of_days(sorted(days))
    else:
        with connection.cursor() as cursor:
            cursor.execute(COUNT_AT_ARRIVAL, {"chosen": numbers})
    cause = f"“{by}” had calls counted {MomentChoice(at).label.lower()}"
    owners = set(known.values_list("credential", flat=True))
    whole = len(owners) != 1 or len(marks) != 1
    credential = None if whole else Credential.objects.get(pk=owners.pop())
    open_claim(cause=cause, by=by, credential=credential)
    return len(numbers)


@atomic
def release_transactions(transactions: QuerySet[Quarantined], *, by: User, note: str) -> int:
    """Looked at: they leave the open list, and are still claimed if somebody appears."""
    waiting = transactions.filter(released_at=None)
    _record_for_each_gateway(AuditEvent.Verb.RELEASED, waiting, by, note)
    return waiting.update(released_at=timezone.now(), released_by=by.email, release_note=note)


@atomic
def put_back_transactions(transactions: QuerySet[Quarantined], *, by: User) -> int:
    """The opposite of a release."""
    released = transactions.exclude(released_at=None)
    _record_for_each_gateway(AuditEvent.Verb.PUT_BACK, released, by, "")
    return released.update(released_at=None, released_by="", release_note="")


@atomic
def match_again(transactions: QuerySet[Quarantined], *, cause: str, by: User) -> Claim:
    """Judge what waits under the same key once more, also what could not be processed before.

    Where no credential has the key, that is all of the quarantine.
    """
    transactions.exclude(error="").update(error="")
    marks = transactions.values("fingerprint")
    known = ExternalKey.objects.filter(fingerprint__in=marks).select_related("credential").first()
    return open_claim(cause=cause, by=by, credential=known.credential if known else None)


def _record_for_each_gateway(
    verb: AuditEvent.Verb, transactions: QuerySet[Quarantined], by: User, note: str
) -> None:
    """One event for each gateway they came from."""
    counts = dict(transactions.order_by().values_list("gateway").annotate(Count("pk")))
    for pk, gateway in Gateway.objects.in_bulk(counts).items():
        details = {"transactions": counts[pk], "note": note}
        AuditEvent.objects.record(verb, target=gateway, by=by, details=details)
