from collections.abc import Mapping
from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from metering import actions
from metering.admin.filters import GatewayFilter, TroubledDeliveryFilter
from metering.models import Delivery
from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.models import User


class RetryDeliveryForm(ActionForm):
    """End the pause before a failed delivery is tried again."""

    title = "Try again now"
    button = "Try this batch again"
    explanation = (
        "A batch that fails is tried again after growing pauses. This ends the current pause."
    )

    def perform(self, by: User) -> str:
        actions.retry_delivery_now(delivery=self.target)
        return "The batch is being tried again. It leaves this list when it succeeds."


@admin.register(Delivery)
class DeliveryAdmin(ActionPagesMixin, ReadOnlyModelAdmin):
    """Batches that wait in the inbox to be processed."""

    list_display = (
        "received_at",
        "gateway",
        "transactions",
        "rejected",
        "passed_over",
        "attempts",
        "last_error",
        "next_try_at",
    )
    list_select_related = ("gateway",)
    list_filter = (GatewayFilter, TroubledDeliveryFilter)
    empty_list_text = "Nothing waits: everything received has been attributed."
    fields = ("id", *list_display)
    readonly_fields = fields
    change_form_template = "admin/metering/delivery/change_form.html"
    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {"try-again": RetryDeliveryForm}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Return the deliveries without their bodies."""
        # A body may have a megabyte, and a page a hundred rows.
        return super().get_queryset(request).defer("body")
