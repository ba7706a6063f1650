"""Admin pages of outgoing mail."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext

from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.admin_toolkit.badges import badge
from revcred.admin_toolkit.filters import ChoiceFilter, moment_filter
from revcred.models import OutgoingMail
from revcred.texts import gettext_lazy


class MailStateFilter(ChoiceFilter):
    """Mails that were sent, wait, or were given up."""

    title, parameter_name = gettext_lazy("state"), "state"
    CONDITIONS: ClassVar[dict[str, Q]] = {
        "sent": Q(sent_at__isnull=False),
        "waiting": Q(next_try_at__isnull=False, sent_at=None),
        "given_up": Q(next_try_at=None, sent_at=None),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("sent", gettext("Sent")),
            ("waiting", gettext("Waiting")),
            ("given_up", gettext("Given up")),
        ]

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        return queryset.filter(self.CONDITIONS[chosen])


@admin.register(OutgoingMail)
class OutgoingMailAdmin(ReadOnlyModelAdmin):
    """The outbox without the texts: recipient, subject, and why a mail was not sent."""

    list_display = ("recipient", "subject", "state", "created_at", "sent_at", "attempts")
    list_filter = (
        MailStateFilter,
        moment_filter("since", gettext_lazy("made since"), "created_at__gte"),
        moment_filter("before", gettext_lazy("made before"), "created_at__lt"),
    )
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
    search_help_text = gettext_lazy("The beginning of a recipient's address.")
    search_fields = ("recipient",)

    def get_fields(self, request: Any, obj: Any = None) -> Any:
        # A text may hold a link that signs somebody in: shown only where revcred is tried out.
        is_shown = not settings.PRODUCTION and request.user.is_superuser
        return (*self.fields, "text") if is_shown else self.fields

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Any:
        return self.get_fields(request, obj)

    @admin.display(description=gettext_lazy("text"))
    def text(self, mail: OutgoingMail) -> str:
        return format_html("<pre>{}</pre>", mail.unseal() or gettext("It was wiped after sending."))

    def get_queryset(self, request: Any) -> QuerySet[OutgoingMail]:
        # The body is sealed and never shown: do not even read it.
        return super().get_queryset(request).defer("body")

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return [OutgoingMail.objects.filter(recipient__startswith=term.lower()).values("pk")]

    @admin.display(description=gettext_lazy("state"))
    def state(self, mail: OutgoingMail) -> str:
        if mail.sent_at:
            return badge("sent", "good")
        if mail.next_try_at is None:
            return badge(
                gettext("given up: %(last_error)s") % {"last_error": mail.last_error}, "bad"
            )
        return badge(
            gettext("waiting: %(last_error)s") % {"last_error": mail.last_error}
            if mail.last_error
            else gettext("waiting"),
            "over",
        )
