from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from metering.admin import most_calls
from metering.admin.filters import (
    CredentialFilter,
    ElementOfUsageFilter,
    GatewayFilter,
    HourBeforeFilter,
    HourSinceFilter,
    OwnedCustomerFilter,
    ProductFilter,
    SubscriptionFilter,
)
from metering.ledger.quantities import format_quantity
from metering.models import IntakeStats, Usage
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin


@admin.register(Usage)
class UsageAdmin(ReadOnlyModelAdmin):
    """Usage by hour, subscription, credential and element."""

    list_display = ("hour", "subscription", "customer", "credential", "element", "count", "sum")
    list_select_related = ("subscription", "customer", "credential", "product")
    list_filter = (
        SubscriptionFilter,
        CredentialFilter,
        OwnedCustomerFilter,
        ProductFilter,
        ElementOfUsageFilter,
        HourSinceFilter,
        HourBeforeFilter,
    )
    unindexed_parameters = frozenset({"product", "element"})
    indexed_parameters = frozenset({"subscription", "credential", "customer"})
    more_columns = ("product",)
    counted_as = "rows"
    fields = (
        "hour",
        "subscription",
        "customer",
        "product",
        "credential",
        "element",
        "count",
        "sum",
    )
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self._most_calls)
        own = [path("most-calls/", page, name="metering_usage_most-calls")]
        return own + super().get_urls()

    def _most_calls(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return most_calls.most_calls_page(request, self.admin_site)

    @admin.display(description="quantity")
    def sum(self, usage: Usage) -> str:
        return format_quantity(usage.quantity)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Order by hour if an index allows it, else by id, which nearly follows the hour."""
        # Only the index of a subscription's usage is ordered by hour. Without it PostgreSQL would
        # sort millions of rows for one page.
        return ("-hour", "-pk") if "subscription" in request.GET else ("-pk",)


@admin.register(IntakeStats)
class IntakeStatsAdmin(ReadOnlyModelAdmin):
    """Traffic by gateway and hour."""

    list_display = (
        "hour",
        "gateway",
        "accepted",
        "rejected",
        "passed_over",
        "repeated",
        "conflicting",
        "attributed",
        "quarantined",
        "mean_lag",
    )
    list_select_related = ("gateway",)
    list_filter = (GatewayFilter, HourSinceFilter, HourBeforeFilter)
    fields = list_display
    readonly_fields = fields

    @admin.display(description="mean lag")
    def mean_lag(self, tally: IntakeStats) -> Any:
        processed = tally.attributed + tally.quarantined
        return f"{tally.lag / processed:.2f} s" if processed else None
