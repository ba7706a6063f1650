"""Filters of the lists of metering."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from metering.models import Claim, DiscoveredSource, QuarantineReason
from revcred.admin_toolkit.filters import (
    ChoiceFilter,
    LinkedFilter,
    TextFilter,
    YesNoFilter,
    moment_filter,
)
from revcred.models import Assignment, Credential, Customer, Gateway, Product, Subscription

STATUS_RANGE = re.compile(r"([1-5])xx|([1-5]\d\d)", re.IGNORECASE)
ELEMENT_WITH_MINIMUM = re.compile(r"(.+?)\s*>=\s*(\d+(?:\.\d+)?)")


class SubscriptionFilter(LinkedFilter):
    title, parameter_name, model = "subscription", "subscription", Subscription


class CredentialFilter(LinkedFilter):
    title, parameter_name, model = "credential", "credential", Credential


class CredentialByIndexFilter(CredentialFilter):
    """A filter by credential, through the subscriptions it was assigned to, which have an index."""

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        subscriptions = Assignment.objects.filter(credential=chosen).values_list(
            "subscription", flat=True
        )
        return queryset.filter(credential=chosen, subscription__in=list(subscriptions.distinct()))


class OwnedCustomerFilter(LinkedFilter):
    """Rows of a customer, through its subscriptions, which have an index."""

    title, parameter_name, model = "customer", "customer", Customer

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        subscriptions = Subscription.objects.filter(customer=chosen).values_list("pk", flat=True)
        return queryset.filter(customer=chosen, subscription__in=list(subscriptions))


class ProductFilter(LinkedFilter):
    title, parameter_name, model = "product", "product", Product


class GatewayFilter(LinkedFilter):
    title, parameter_name, model = "gateway", "gateway", Gateway


class StatusFilter(TextFilter):
    """Calls by their HTTP status, such as 404 or 5xx."""

    title, parameter_name, placeholder = "status", "status", "404 or 5xx"

    def narrow(self, queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
        found = STATUS_RANGE.fullmatch(text)
        if found is None:
            return queryset.none()
        first = int(found[1]) * 100 if found[1] else int(found[2])
        last = first + 99 if found[1] else first
        return queryset.filter(status__gte=first, status__lte=last)

    def in_words(self) -> str:
        text = self.value() or ""
        return text if STATUS_RANGE.fullmatch(text) else f"“{text}”, which is no status such as 404"


class PathFilter(TextFilter):
    """Calls whose path begins with a text."""

    title, parameter_name, lookup = "path begins with", "path", "path__startswith"
    placeholder = "/v1/orders"


class ElementFilter(TextFilter):
    """Calls with an element, such as `tokens`, or with so much of it: `tokens >= 1000`."""

    title, parameter_name = "element", "element"
    placeholder = "tokens or tokens >= 1000"

    def narrow(self, queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
        if found := ELEMENT_WITH_MINIMUM.fullmatch(text):
            return queryset.filter(
                **{"elements__has_key": found[1], f"elements__{found[1]}__gte": float(found[2])}
            )
        return queryset.filter(elements__has_key=text)


class ElementOfUsageFilter(TextFilter):
    """Usage of one element, spelt just so."""

    title, parameter_name, placeholder = "element", "element", "calls"


class MatchedByFilter(ChoiceFilter):
    """Calls by what named their owner."""

    title, parameter_name = "matched by", "matched_by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        field = model_admin.model._meta.get_field("matched_by")
        return [(value, str(label)) for value, label in field.choices]


class CorrectionFilter(YesNoFilter):
    """Reversals and corrections of the ledger."""

    title, parameter_name = "correction or reversal", "correction"

    def condition(self, now: datetime) -> Q:
        return Q(corrects__isnull=False)


class ReasonFilter(ChoiceFilter):
    """Waiting calls by the reason why they wait."""

    title, parameter_name, choices_of = "reason", "reason", QuarantineReason


class TroubledDeliveryFilter(YesNoFilter):
    """Batches that have failed before."""

    title, parameter_name = "has failed", "failed"

    def condition(self, now: datetime) -> Q:
        return Q(attempts__gt=0)


class CodeFilter(TextFilter):
    """Rejected items by the code of the reason."""

    title, parameter_name, placeholder = "code", "code", "too_old"


class DoorFilter(TextFilter):
    """Rejected items by the beginning of the address that they were posted to."""

    title, parameter_name, lookup = "door begins with", "door", "door__startswith"
    placeholder = "/v1/transactions"


class DiscoveredKindFilter(ChoiceFilter):
    """Discovered sources by how they were found."""

    title, parameter_name, choices_of = "kind", "kind", DiscoveredSource.Kind


class ClaimStateFilter(ChoiceFilter):
    """Re-attribution that is under way or finished."""

    title, parameter_name = "state", "state"
    CONDITIONS: ClassVar[dict[str, Q]] = {
        "open": Q(finished_at=None),
        "finished": Q(finished_at__isnull=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [("open", "Under way"), ("finished", "Finished")]

    def narrow(self, queryset: QuerySet[Claim], chosen: str) -> QuerySet[Claim]:
        return queryset.filter(self.CONDITIONS[chosen])


OccurredSinceFilter = moment_filter("since", "since", "occurred_at__gte")
OccurredBeforeFilter = moment_filter("before", "before", "occurred_at__lt")
HourSinceFilter = moment_filter("since", "since", "hour__gte")
HourBeforeFilter = moment_filter("before", "before", "hour__lt")
CreatedSinceFilter = moment_filter("since", "since", "created_at__gte")
ReceivedSinceFilter = moment_filter("since", "since", "received_at__gte")
ReceivedBeforeFilter = moment_filter("before", "before", "received_at__lt")
RejectedSinceFilter = moment_filter("since", "since", "rejected_at__gte")
RejectedBeforeFilter = moment_filter("before", "before", "rejected_at__lt")
