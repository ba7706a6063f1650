from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from metering.admin import trials
from metering.admin.filters import (
    CorrectionFilter,
    CredentialByIndexFilter,
    ElementFilter,
    GatewayFilter,
    MatchedByFilter,
    OccurredBeforeFilter,
    OccurredSinceFilter,
    OwnedCustomerFilter,
    PathFilter,
    ProductFilter,
    ReceivedBeforeFilter,
    ReceivedSinceFilter,
    StatusFilter,
    SubscriptionFilter,
)
from metering.ledger import receipts
from metering.ledger.quantities import format_field_value, format_quantity
from metering.models import Conflict, Quarantined, Transaction
from metering.models.transactions import MeteredCall
from revcred import pasting
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.admin_toolkit.badges import badge
from revcred.admin_toolkit.filters import parse_moment_in_address
from revcred.admin_toolkit.lists import parse_id
from revcred.admin_toolkit.site_search import SearchHit, SearchTerm
from revcred.models import Gateway

LATEST_PERIOD = timedelta(days=1)  # before the latest call
# Without one of these, no index leads to the calls: only those of a period are looked at.
INDEXED_PARAMETERS = {"subscription", "credential", "customer", "since"}
UNINDEXED_PARAMETERS = {
    *("gateway", "product", "status", "path", "element", "matched_by", "correction", "before"),
}


class ReceiptModelAdmin(ReadOnlyModelAdmin):
    """A read-only admin whose page of a row is the receipt of its transaction."""

    list_display_links = ("transaction_id",)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        receipt = receipts.receipt_of_row(row)
        return self.show_receipts(request, [receipt], str(row.transaction_id), row)

    def show_receipts(
        self,
        request: HttpRequest,
        found: list[receipts.Receipt],
        transaction_id: str,
        row: MeteredCall | None = None,
    ) -> HttpResponse:
        context = self.admin_site.each_context(request) | {
            "title": f"Receipt of {transaction_id}",
            "subtitle": None,
            "opts": self.opts,
            "transaction_id": transaction_id,
            "receipts": found,
            # Only what waits can be matched again.
            "waiting": row if isinstance(row, Quarantined) else None,
        }
        return TemplateResponse(request, "admin/metering/receipts.html", context)


@admin.register(Transaction)
class TransactionAdmin(ReceiptModelAdmin):
    """The ledger: attributed transactions, with reversals and corrections."""

    list_display = (
        "transaction_id",
        "occurred_at",
        "gateway",
        "credential",
        "subscription",
        "customer",
        "counted",
        "status",
        "kind",
    )
    more_columns = (
        *("received_at", "product", "source_named", "method", "path", "matched_by"),
        *("latency_ms", "request_bytes", "response_bytes", "metadata"),
    )
    list_select_related = ("gateway", "credential", "subscription", "customer", "product")
    list_filter = (
        OwnedCustomerFilter,
        SubscriptionFilter,
        CredentialByIndexFilter,
        ProductFilter,
        GatewayFilter,
        StatusFilter,
        PathFilter,
        ElementFilter,
        MatchedByFilter,
        CorrectionFilter,
        OccurredSinceFilter,
        OccurredBeforeFilter,
    )
    search_fields: ClassVar[tuple[str, ...]] = ("transaction_id",)
    search_help_text = "A complete transaction id. Shows its receipt, also from the quarantine."

    @admin.display(description="counted")
    def counted(self, row: MeteredCall) -> str:
        return format_elements(row)

    @admin.display(description="kind", empty_value="")
    def kind(self, row: Transaction) -> str | None:
        if row.sign < 0:
            return badge("reversal", "bad")
        return badge("correction", "warn") if row.corrects else None

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self._what_if)
        own = [path("what-if/", page, name="metering_transaction_what-if")]
        return own + super().get_urls()

    def _what_if(self, request: HttpRequest) -> HttpResponse:
        return trials.what_if_page(request, self.admin_site)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Order by moment if an index allows it, else by id, the order of attribution."""
        # Only the index of a subscription's transactions is ordered by moment.
        is_narrow = not {"subscription", "credential", "customer"}.isdisjoint(request.GET)
        return ("-occurred_at", "-pk") if is_narrow else ("-pk",)

    def search(self, request: HttpRequest) -> HttpResponse:
        """Search for a transaction id, which may hold a key and must then not become an address."""
        term = request.POST.get("q", "").replace("\0", "").strip()
        if not term or pasting.is_known_key(term) or not self.has_view_permission(request):
            return super().search(request)
        found = receipts.find_receipts_of_all_gateways(term)
        # An id that was stored as it was sent holds no key, so that it may stand in an address.
        if found and all(receipt.transaction_id == term for receipt in found):
            return super().search(request)
        return self.show_receipts(request, found, found[0].transaction_id if found else term)

    def search_hits(self, request: HttpRequest, term: SearchTerm) -> list[SearchHit]:
        """Return the receipts of a transaction's complete id, one for each gateway that sent it."""
        # An id that may stand in an address: one with a key in it was stored without the key.
        if not term.text or term.is_marked_as_key or pasting.is_known_key(term.text):
            return []
        return [
            SearchHit(label=term.text, url=self.list_url(term), detail=f"at {gateway}")
            for gateway in receipts.gateways_that_sent(term.text)
        ]

    def finds_any(self, term: str) -> bool:
        # Looking would take as long as the search itself, which says so if there is none.
        return True

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # A search shows receipts at once instead of a list with one row: an id has few of them.
        transaction_id = request.GET.get("q", "").strip().replace("\0", "")
        if transaction_id and self.has_view_permission(request):
            found = receipts.find_receipts_of_all_gateways(transaction_id)
            return self.show_receipts(request, found, transaction_id)
        if since := self._start_needed(request):
            query = request.GET.copy()
            query["since"] = f"{since:%Y-%m-%d %H:%M}"
            return HttpResponseRedirect(f"{request.path}?{query.urlencode()}")
        return super().changelist_view(request, extra_context)

    def _start_needed(self, request: HttpRequest) -> datetime | None:
        """Return the moment from which calls are shown, if no index leads to those asked for.

        It becomes a part of the address, so that the page shows it as a filter to be changed.
        """
        asked = {name for name, value in request.GET.items() if value}
        if not asked & UNINDEXED_PARAMETERS or asked & INDEXED_PARAMETERS:
            return None
        latest = parse_moment_in_address(request.GET.get("before")) or timezone.now()
        number = parse_id(request.GET.get("gateway"))
        gateway = Gateway.objects.filter(pk=number).first() if number is not None else None
        # Its latest day and not today: an admin looks at gateways that have gone quiet, too.
        if gateway is not None and gateway.last_seen_at is not None:
            latest = min(latest, gateway.last_seen_at)
        try:
            return latest - LATEST_PERIOD
        except OverflowError:
            return None  # no call is older than the first day of all


@admin.register(Conflict)
class ConflictAdmin(ReadOnlyModelAdmin):
    """Transactions whose id was used before with another content, which stands."""

    list_display = ("received_at", "transaction_id", "gateway")
    list_select_related = ("gateway",)
    list_filter = (GatewayFilter, ReceivedSinceFilter, ReceivedBeforeFilter)
    fields = ("transaction_id", "gateway", "received_at", "content_as_json")
    readonly_fields = fields

    @admin.display(description="content")
    def content_as_json(self, conflict: Conflict) -> str:
        return format_field_value(conflict.content)


def format_elements(row: MeteredCall) -> str:
    """Return the elements of a transaction, such as "calls 1, tokens 250"."""
    sign = "\N{MINUS SIGN}" if getattr(row, "sign", 1) < 0 else ""
    return ", ".join(
        f"{name} {sign}{format_quantity(quantity)}" for name, quantity in row.elements.items()
    )
