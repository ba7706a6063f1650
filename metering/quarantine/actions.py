"""Actions on the quarantine: choose moments, mark as reviewed, put back, match again."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection, models
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import TruncDate
from django.db.transaction import atomic
from django.utils import timezone
from psycopg import sql

from metering.ledger import partitions
from metering.models import Claim, Quarantined, QuarantineReason
from metering.quarantine import reattribution
from metering.quarantine.statements import (
    COUNT_AT_ARRIVAL,
    LEDGER_KEEPS_ITS_DAY,
    PREVIEW_MOMENT_CHOICE,
    claim_statement,
)
from revcred.hooks import announce_change
from revcred.models import (
    AuditEvent,
    Credential,
    ExternalKey,
    Gateway,
    Subscription,
    User,
)
from revcred.models.gateways import max_accepted_days

MAX_CALLS_PREVIEWED = 10_000


class MomentChoice(models.TextChoices):
    """The moment at which calls count whose own moment is outside the window."""

    SAID = "said", "At the moment they say"
    ARRIVAL = "arrival", "At the moment they arrived"


@dataclass(frozen=True, kw_only=True)
class MomentPreviewShare:
    """A number of calls with the same outcome: a subscription, or a reason to stay."""

    calls: int
    subscription: Subscription | None = None
    reason: QuarantineReason | None = None


@dataclass(frozen=True, kw_only=True)
class MomentPreview:
    """The outcome of choosing a moment for calls, without doing it."""

    shares: list[MomentPreviewShare]
    beyond: int  # calls of days without a place in the ledger, which would stay as they are
    is_cut: bool  # only the first MAX_CALLS_PREVIEWED were judged


def countable_at(at: MomentChoice, now: datetime) -> Q:
    """Return the filter for calls that may count at this moment.

    The ledger has a place only for moments from the longest accepted age to the near future.
    """
    if at == MomentChoice.ARRIVAL:
        return Q(outside=True)
    ahead = now + timedelta(minutes=settings.NEWEST_TRANSACTION_MINUTES)
    oldest = now - timedelta(days=max_accepted_days())
    return Q(outside=True, occurred_at__gte=oldest, occurred_at__lte=ahead)


def preview_moments(transactions: QuerySet[Quarantined], at: MomentChoice) -> MomentPreview:
    """Judge calls outside the window as if they counted at this moment, and change nothing."""
    outside = transactions.filter(outside=True)
    chosen = transactions.filter(countable_at(at, timezone.now()))
    # One more than is judged tells that there are more.
    ids = list(chosen.order_by("pk").values_list("pk", flat=True)[: MAX_CALLS_PREVIEWED + 1])
    with connection.cursor() as cursor:
        cursor.execute(PREVIEW_MOMENT_CHOICE[at], {"chosen": ids[:MAX_CALLS_PREVIEWED]})
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
    max_counted = MAX_CALLS_PREVIEWED + 1
    beyond = outside.exclude(countable_at(at, timezone.now())).values("pk")[:max_counted].count()
    return MomentPreview(shares=shares, beyond=beyond, is_cut=len(ids) > MAX_CALLS_PREVIEWED)


@atomic
def choose_moments(transactions: QuerySet[Quarantined], *, at: MomentChoice, by: User) -> int:
    """Choose the moment at which these calls count, judge them again, and return their number.

    The moment they came with is kept: as their moment, or in their metadata as `occurred_at_said`.
    """
    chosen = transactions.filter(countable_at(at, timezone.now()))
    # Locked, so that two admins do not choose different moments for the same call.
    ids = list(chosen.select_for_update().values_list("pk", flat=True))
    if not ids:
        return 0
    locked = Quarantined.objects.filter(pk__in=ids)
    _record_for_each_gateway(
        AuditEvent.Verb.MOMENTS_CHOSEN, locked, by, str(MomentChoice(at).label)
    )
    fingerprints = list(locked.order_by().values_list("fingerprint", flat=True).distinct())
    known = ExternalKey.objects.filter(fingerprint__in=locked.values("fingerprint"))
    if at == MomentChoice.SAID:
        days = set(locked.order_by().values_list(TruncDate("occurred_at", tzinfo=UTC), flat=True))
        locked.update(outside=False)
        partitions.ensure_partitions_of_days(sorted(days))
    else:
        with connection.cursor() as cursor:
            cursor.execute(COUNT_AT_ARRIVAL, {"chosen": ids})
    cause = f"“{by}” had calls counted {MomentChoice(at).label.lower()}"
    # One key with one credential: then only this credential's calls have to be judged again.
    owners = set(known.values_list("credential", flat=True))
    is_everything = len(owners) != 1 or len(fingerprints) != 1
    credential = None if is_everything else Credential.objects.get(pk=owners.pop())
    announce_change(cause, by=by, credential=credential)
    return len(ids)


@atomic
def mark_reviewed(transactions: QuerySet[Quarantined], *, by: User, note: str) -> int:
    """Take transactions off the open list. They are still attributed if an owner appears."""
    waiting = transactions.filter(released_at=None)
    _record_for_each_gateway(AuditEvent.Verb.RELEASED, waiting, by, note)
    return waiting.update(released_at=timezone.now(), released_by=by.email, release_note=note)


@atomic
def put_back_transactions(transactions: QuerySet[Quarantined], *, by: User) -> int:
    """Put reviewed transactions back on the open list."""
    released = transactions.exclude(released_at=None)
    _record_for_each_gateway(AuditEvent.Verb.PUT_BACK, released, by, "")
    return released.update(released_at=None, released_by="", release_note="")


@atomic
def match_again(transactions: QuerySet[Quarantined], *, cause: str, by: User) -> None:
    """Judge transactions again, including poison, with all that wait for the same credential.

    Where no credential has the key, all of the quarantine is judged again.
    """
    # An error is what keeps claims away from poison.
    transactions.exclude(error="").update(error="")
    keys = ExternalKey.objects.filter(fingerprint__in=transactions.values("fingerprint"))
    known = keys.select_related("credential").first()
    # Announced, not opened here: so it can be tried out, and its calls counted, before it is done.
    announce_change(cause, by=by, credential=known.credential if known else None)


@atomic
def match_transaction_again(*, transaction: Quarantined, by: User) -> QuarantineReason | None:
    """Judge one transaction again; return None if it is charged now, or why it still waits.

    Raises django.db.Error: it cannot be processed, and stays as it was.
    """
    Quarantined.objects.filter(pk=transaction.pk).exclude(error="").update(error="")
    # Its own claim, so that the receipt says who had it matched, and when.
    claim = Claim.objects.create(cause=f"“{by}” had it matched again"[:200], by=by.email)
    scope = sql.SQL("q.id = %(transaction)s AND {}").format(LEDGER_KEEPS_ITS_DAY)
    arguments = reattribution.claim_arguments(claim) | {
        "transaction": transaction.pk,
        "after": reattribution.BEFORE_FIRST_ID,
        "max_rows": 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(claim_statement(scope), arguments)
        looked_at, found, last = cursor.fetchone()
    claim.record_step(looked_at=looked_at, found=found, last=last, at=timezone.now())
    claim.finished_at = timezone.now()
    claim.save(update_fields=["finished_at"])
    waiting = Quarantined.objects.filter(pk=transaction.pk).first()
    return QuarantineReason(waiting.reason) if waiting else None


def _record_for_each_gateway(
    verb: AuditEvent.Verb, transactions: QuerySet[Quarantined], by: User, note: str
) -> None:
    """Record one event for each gateway that the transactions came from."""
    counts = dict(transactions.order_by().values_list("gateway").annotate(Count("pk")))
    for pk, gateway in Gateway.objects.in_bulk(counts).items():
        details = {"transactions": counts[pk], "note": note}
        AuditEvent.objects.record(verb, target=gateway, by=by, details=details)
