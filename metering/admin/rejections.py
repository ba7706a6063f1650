from django.contrib import admin

from metering.admin.filters import (
    CodeFilter,
    DoorFilter,
    GatewayFilter,
    RejectedBeforeFilter,
    RejectedSinceFilter,
)
from metering.models import Rejection
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin


@admin.register(Rejection)
class RejectionAdmin(ReadOnlyModelAdmin):
    """The latest rejected items of each gateway."""

    list_display = (
        "rejected_at",
        "gateway",
        "door",
        "transaction_id",
        "field",
        "message",
        "code",
    )
    list_select_related = ("gateway",)
    list_filter = (GatewayFilter, CodeFilter, DoorFilter, RejectedSinceFilter, RejectedBeforeFilter)
    fields = (*list_display[:3], "place", *list_display[3:], "item")
    readonly_fields = fields
