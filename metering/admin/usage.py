from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from metering.ledger.quantities import format_quantity
from metering.models import Tally, Usage
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.admin_toolkit.lists import LinkedFilter
from revcred.models import Credential, Gateway, Subscription


class SubscriptionFilter(LinkedFilter):
    title, parameter_name, model = "subscription", "subscription", Subscription


class CredentialFilter(LinkedFilter):
    title, parameter_name, model = "credential", "credential", Credential


class GatewayFilter(LinkedFilter):
    title, parameter_name, model = "gateway", "gateway", Gateway


@admin.register(Usage)
class UsageAdmin(ReadOnlyModelAdmin):
    list_display = ("hour", "subscription", "customer", "credential", "element", "count", "sum")
    list_select_related = ("subscription", "customer", "credential")
    list_filter = (SubscriptionFilter, CredentialFilter)
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

    @admin.display(description="quantity")
    def sum(self, usage: Usage) -> str:
        return format_quantity(usage.quantity)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """By the hour where an index knows it; otherwise by the number, which follows it nearly."""
        return ("-hour", "-pk") if "subscription" in request.GET else ("-pk",)


@admin.register(Tally)
class IntakeStatsAdmin(ReadOnlyModelAdmin):
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
    list_filter = (GatewayFilter,)
    fields = list_display
    readonly_fields = fields

    @admin.display(description="mean lag")
    def mean_lag(self, tally: Tally) -> Any:
        settled = tally.attributed + tally.quarantined
        return f"{tally.lag / settled:.2f} s" if settled else None
