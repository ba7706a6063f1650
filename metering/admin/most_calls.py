"""The page that answers who made most calls lately."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from metering.admin.explanations import link_to
from metering.ledger.most_calls import MAX_USAGE_ROWS_READ, RankedParty, rank_calls
from metering.models import Usage
from revcred.models import Credential, Customer, Product, Subscription

MAX_RANKED = 25
MODELS: dict[RankedParty, type[models.Model]] = {
    RankedParty.CUSTOMER: Customer,
    RankedParty.SUBSCRIPTION: Subscription,
    RankedParty.CREDENTIAL: Credential,
    RankedParty.PRODUCT: Product,
}
# Credentials and subscriptions are told apart by whose they are.
HAVE_CUSTOMER = (RankedParty.SUBSCRIPTION, RankedParty.CREDENTIAL)
TODAY, THIS_HOUR, LAST_DAY = "today", "hour", "day"


class MostCallsForm(forms.Form):
    """Asks what to sum up calls by, and of which period."""

    by = forms.ChoiceField(
        choices=[(each.value, each.value.capitalize()) for each in RankedParty],
        required=False,
        label="Calls by",
    )
    span = forms.ChoiceField(
        choices=[
            (TODAY, "Today, in UTC"),
            (THIS_HOUR, "This hour"),
            (LAST_DAY, "The last 24 hours"),
        ],
        required=False,
        label="Period",
    )

    @property
    def party(self) -> RankedParty:
        return RankedParty(self._chosen("by") or RankedParty.CUSTOMER)

    def since(self, now: datetime) -> datetime:
        """Return the first hour of the period."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        span = self._chosen("span")
        if span == THIS_HOUR:
            return hour
        return hour - timedelta(days=1) if span == LAST_DAY else hour.replace(hour=0)

    def _chosen(self, name: str) -> str:
        return str(self.cleaned_data.get(name, "")) if self.is_valid() else ""


def most_calls_page(request: HttpRequest, site: Any) -> HttpResponse:
    """Show who made most calls, each with links to its page and to its usage."""
    user: Any = request.user
    form = MostCallsForm(request.GET)
    party, since = form.party, form.since(timezone.now())
    ranking = rank_calls(party, since=since, most=MAX_RANKED)
    model = MODELS[party]
    rows = model._base_manager.all()
    if party in HAVE_CUSTOMER:
        rows = rows.select_related("customer")
    found = rows.in_bulk(ranking.calls)
    most = max(ranking.calls.values(), default=0)
    sees_pages = user.has_perm(f"revcred.view_{party}")
    usage = reverse("admin:metering_usage_changelist")
    first_hour = f"{since:%Y-%m-%d %H:%M}"
    context = site.each_context(request) | {
        "title": "Who called most",
        "subtitle": None,
        "opts": Usage._meta,
        "form": form,
        "since": since,
        "kind": party,
        "has_customer": party in HAVE_CUSTOMER,
        "rows": [
            {
                "name": link_to(row) if sees_pages else str(row),
                "customer": getattr(row, "customer", None),
                "calls": ranking.calls[pk],
                "share": round(100 * ranking.calls[pk] / most),
                "usage": f"{usage}?{urlencode({party: str(pk), 'since': first_hour})}",
            }
            for pk in ranking.calls
            if (row := found.get(pk))
        ],
        "is_cut": ranking.is_cut,
        "max_rows": MAX_USAGE_ROWS_READ,
        "most": MAX_RANKED,
    }
    return TemplateResponse(request, "admin/metering/most_calls.html", context)
