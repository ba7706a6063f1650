"""Calls that are not counted: how many, why, and who can change that."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import models
from django.db.models import Count, Max, Min, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.utils.translation import gettext, gettext_noop

from metering.customer_calls import MAX_CLOCK_LEAD
from metering.models import QuarantineReason
from metering.models.transactions import QuarantinedQuerySet
from metering.models.usage import start_of_bin
from revcred.models import Credential
from storefront.windows import DateRange, Step

UNCOUNTED_PERIOD = timedelta(days=90)  # in which calls are told on home and lists


@dataclass(frozen=True)
class ReasonText:
    """Why a call is not counted, in a clause after a number of calls, and what helps."""

    because: str
    remedy: str


NAME_REMEDY = gettext_noop(
    "Ask your provider to correct the name, or send the right one with each call."
)
REASON_TEXTS: dict[str, ReasonText] = {
    QuarantineReason.UNKNOWN_KEY: ReasonText(
        gettext_noop("the key was not known at this gateway"),
        gettext_noop("Ask your provider to let the key count at this gateway."),
    ),
    QuarantineReason.KEY_NOT_VALID: ReasonText(
        gettext_noop("the key had ended, or its credential was suspended, expired or revoked"),
        gettext_noop(
            "Use a key that is valid now. Ask your provider if these calls should have counted."
        ),
    ),
    QuarantineReason.NO_SUBSCRIPTION: ReasonText(
        gettext_noop("no subscription was active"),
        gettext_noop(
            "Ask your provider to extend the subscription, or to assign the credential to"
            " another. The calls are counted then."
        ),
    ),
    QuarantineReason.SUBSCRIPTION_MISMATCH: ReasonText(
        gettext_noop("they name a subscription that the credential is not charged to"),
        gettext_noop(
            "Send the right subscription with each call, or ask your provider to assign"
            " the credential to the one that is named."
        ),
    ),
    QuarantineReason.AMBIGUOUS: ReasonText(
        gettext_noop("they fit more than one subscription"),
        gettext_noop("Ask your provider to choose one. The calls are counted then."),
    ),
    QuarantineReason.ANONYMOUS: ReasonText(
        gettext_noop("they name neither a key nor a subscription"),
        gettext_noop("Send the key with each call."),
    ),
    QuarantineReason.UNKNOWN_CREDENTIAL: ReasonText(
        gettext_noop("they name a credential that does not exist"), NAME_REMEDY
    ),
    QuarantineReason.UNKNOWN_CUSTOMER: ReasonText(
        gettext_noop("they name a customer that does not exist"), NAME_REMEDY
    ),
    QuarantineReason.UNKNOWN_PRODUCT: ReasonText(
        gettext_noop("they name a product that does not exist"), NAME_REMEDY
    ),
    QuarantineReason.UNKNOWN_SUBSCRIBER: ReasonText(
        gettext_noop("they name a subscriber who does not exist"), NAME_REMEDY
    ),
    QuarantineReason.NAMES_DISAGREE: ReasonText(
        gettext_noop("the names and the key do not belong together"), NAME_REMEDY
    ),
    QuarantineReason.POISON: ReasonText(
        gettext_noop("they could not be processed"),
        gettext_noop("Your provider has to look at them."),
    ),
    QuarantineReason.MOMENT_OUTSIDE: ReasonText(
        gettext_noop("their time lies too far in the past or in the future"),
        gettext_noop("Ask your provider to accept them. The clock of a gateway may be wrong."),
    ),
}


def reason_text(reason: str) -> ReasonText:
    """Return why calls are not counted for this reason, in the language of the page."""
    text = REASON_TEXTS[reason]
    return ReasonText(gettext(text.because), gettext(text.remedy))


@dataclass(frozen=True, kw_only=True)
class UncountedGroup:
    """Calls of one credential that are not counted for one reason, and when they were made."""

    credential: int
    reason: QuarantineReason
    calls: int
    first: datetime
    last: datetime

    @property
    def because(self) -> str:
        return reason_text(self.reason).because

    @property
    def remedy(self) -> str:
        return reason_text(self.reason).remedy


def waiting_calls(uncounted: QuarantinedQuerySet, now: datetime) -> QuarantinedQuerySet:
    """Keep calls of UNCOUNTED_PERIOD that nobody has taken off the list of open ones."""
    since = now - UNCOUNTED_PERIOD
    return uncounted.filter(released_at=None, occurred_at__gte=since).arrived_since(
        since - MAX_CLOCK_LEAD
    )


def group_uncounted(waiting: QuarantinedQuerySet) -> list[UncountedGroup]:
    """Return the calls by credential and reason, the most first."""
    rows = (
        waiting.order_by()
        .values("credential_id", "reason")  # type: ignore[misc] # annotated by of_credentials
        .annotate(calls=Count("pk"), first=Min("occurred_at"), last=Max("occurred_at"))
    )
    groups = [
        UncountedGroup(
            credential=row["credential_id"],
            reason=QuarantineReason(row["reason"]),
            calls=row["calls"],
            first=row["first"],
            last=row["last"],
        )
        for row in rows
    ]
    return sorted(groups, key=lambda group: (-group.calls, group.credential, group.reason))


def name_credentials(groups: Iterable[UncountedGroup]) -> list[tuple[Credential, UncountedGroup]]:
    """Return each group with its credential."""
    groups = list(groups)
    credentials = Credential.objects.in_bulk({group.credential for group in groups})
    return [(credentials[group.credential], group) for group in groups]


def uncounted_over_time(
    uncounted: QuarantinedQuerySet, window: DateRange, *, element: str
) -> dict[datetime, Decimal]:
    """Return the quantity of an element in calls that are not counted, by start of the step."""
    amount = Cast(
        KeyTextTransform(element, "elements"), models.DecimalField(max_digits=38, decimal_places=9)
    )
    # Months have no fixed length: their days are summed up below.
    step = timedelta(hours=1) if window.step is Step.HOUR else timedelta(days=1)
    rows = (
        uncounted.arrived_since(window.start - MAX_CLOCK_LEAD)
        .filter(occurred_at__gte=window.start, occurred_at__lt=window.end)
        .order_by()
        .annotate(start=start_of_bin(step, "occurred_at"))
        .values_list("start")
        .annotate(amount=Sum(amount))
    )
    found: dict[datetime, Decimal] = defaultdict(Decimal)
    for at, quantity in rows:
        if quantity:
            found[at.replace(day=1) if window.step is Step.MONTH else at] += quantity
    return dict(found)
