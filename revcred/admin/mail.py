from typing import Any

from django.contrib import admin
from django.db.models import QuerySet

from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.admin_toolkit.badges import badge
from revcred.models import OutgoingMail


@admin.register(OutgoingMail)
class OutgoingMailAdmin(ReadOnlyModelAdmin):
    """The outbox without the texts: what was sent to whom, and what was not and why."""

    list_display = ("recipient", "subject", "state", "created_at", "sent_at", "attempts")
    fields = (
        "recipient",
        "subject",
        "state",
        "created_at",
        "sent_at",
        "attempts",
        "next_try_at",
        "last_error",
    )
    readonly_fields = fields
    search_help_text = "The beginning of a recipient's address."
    search_fields = ("recipient",)

    def get_queryset(self, request: Any) -> QuerySet[OutgoingMail]:
        return super().get_queryset(request).defer("body")

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return [OutgoingMail.objects.filter(recipient__startswith=term.lower()).values("pk")]

    @admin.display(description="state")
    def state(self, mail: OutgoingMail) -> str:
        if mail.sent_at:
            return badge("sent", "good")
        if mail.next_try_at is None:
            return badge(f"given up: {mail.last_error}", "bad")
        return badge(f"waiting: {mail.last_error}" if mail.last_error else "waiting", "over")
