"""Every component of the storefront in all its states, for whoever changes how it looks.

Only in development. It is made of the templates and classes that pages use: there is no second
set. Nothing in it is in the database.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from metering.models import Transaction
from revcred.markdown import render_markdown
from revcred.models import Credential, Customer, Product, Subscription
from storefront.figures import EarlierUsage, UsageChart, UsageSeries
from storefront.history import HistoryEntry
from storefront.listings import SubscriptionRow
from storefront.windows import CalendarSpan, DateRange

TOKEN_PATTERN = re.compile(r"--([\w-]+): (?:light-dark\(|#)")
LONG_NAME = "A-name-without-any-place-to-break-it-" * 4
CHART_DAYS = 20
EXAMPLE_TEXT = """
# What it has
Tiles of *every* zoom, with `tiles` and **calls** counted. [The guide](https://docs.example.com)

| plan | calls |
|---|---|
| trial | 1,000 |
"""


class ExampleForm(forms.Form):
    """A field of each kind."""

    name = forms.CharField(help_text="As your colleagues know it.")
    email = forms.EmailField(label="E-mail")
    password = forms.CharField(widget=forms.PasswordInput)
    role = forms.ChoiceField(choices=[("owner", "Owner"), ("member", "Member")])
    note = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), required=False)
    fixed = forms.CharField(disabled=True, initial="Cannot be changed")


@require_safe
def styleguide_page(request: HttpRequest) -> HttpResponse:
    """Show all components. Raises Http404 but in development."""
    if settings.ENVIRONMENT != "development":
        raise Http404
    now = timezone.now()
    return render(request, "storefront/styleguide.html", _examples(now))


def _examples(now: datetime) -> dict[str, Any]:
    customer = Customer(pk=1, name="Northwind")
    product = Product(pk=1, name="Maps", version="2")
    charts = [_chart(now, series) for series in (1, 6)]
    return {
        "now": now,
        "tokens": _colour_tokens(),
        "states": [*_credentials_of_each_state(customer, now)],
        "form": ExampleForm({"name": "Fleet", "email": "no address", "role": "member"}),
        "rows": [
            _subscription_row(product, customer, name, calls)
            for name, calls in (("Fleet maps", 4_200), (LONG_NAME, 9_900), ("Unused", 0))
        ],
        "transactions": [
            _call(customer, product, now, place, status)
            for place, status in enumerate((200, 404, None))
        ],
        "entries": [
            HistoryEntry(now, "Ines Okafor", "revealed the key …eisw", 1, "Fleet", times=8),
            HistoryEntry(now - timedelta(days=9), "Your provider", "issued it", 1, "Fleet"),
        ],
        "page": Paginator(range(250), 25).get_page(3),
        "charts": charts,
        "party": "credential",
        "window": charts[0]["figures"].window,
        "prose": render_markdown(EXAMPLE_TEXT),
    }


def _colour_tokens() -> list[str]:
    """Return the names of the colours in tokens.css."""
    path = Path(str(finders.find("revcred/tokens.css")))
    return TOKEN_PATTERN.findall(path.read_text(encoding="utf-8"))


def _credentials_of_each_state(customer: Customer, now: datetime) -> list[Credential]:
    yesterday = now - timedelta(days=1)
    examples = []
    for fields, suspended, charged in (
        ({}, False, True),
        ({}, False, False),
        ({}, True, True),
        ({"expires_at": yesterday}, False, True),
        ({"revoked_at": yesterday}, False, True),
    ):
        credential = Credential(customer=customer, name="Fleet", **fields)
        credential.suspended, credential.charged = suspended, charged  # type: ignore[attr-defined]
        examples.append(credential)
    return examples


def _subscription_row(
    product: Product, customer: Customer, name: str, calls: int
) -> SubscriptionRow:
    subscription = Subscription(
        pk=1,
        name=name,
        product=product,
        customer=customer,
        quota=10_000,
        active_from=timezone.now() - timedelta(days=90),
    )
    return SubscriptionRow(
        subscription=subscription,
        owned=True,
        calls_by_day=[Decimal(calls * (day % 7) // 90) for day in range(30)],
        calls_this_month=Decimal(calls),
        calls_of_days_over=Decimal(calls),
        calls_before=Decimal(calls // 2),
        elapsed=0.5,
    )


def _call(
    customer: Customer, product: Product, now: datetime, place: int, status: int | None
) -> Transaction:
    return Transaction(
        pk=UUID(int=place),
        occurred_at=now - timedelta(minutes=place),
        method="GET",
        path="/v2/routes/berlin",
        status=status,
        elements={"calls": 1, "tiles": Decimal("2.5")},
        credential=Credential(customer=customer, name="Fleet"),
        subscription=Subscription(name="Fleet maps", product=product, customer=customer),
    )


def _chart(now: datetime, count: int) -> dict[str, Any]:
    """Return a chart of some series as its template expects it."""
    window = DateRange.holding(now.date(), CalendarSpan.MONTH)
    starts = window.starts[:CHART_DAYS]
    series = []
    for number in range(1, count + 1):
        amounts = [Decimal((day * number) % 17 * 10) for day in range(len(starts))]
        name = f"Series {number}"
        series.append(UsageSeries(name, sum(amounts, Decimal(0)), amounts, number, str(number)))
    waiting = [Decimal(20 * (day % 5 == 0)) for day in range(len(starts))]
    before = [Decimal(day % 11 * 12) for day in range(len(starts))]
    figures = UsageChart(
        window=window,
        element="calls",
        elements={"calls": sum((each.total for each in series), Decimal(0))},
        starts=starts,
        series=series,
        uncounted=UsageSeries("Not counted", sum(waiting, Decimal(0)), waiting, 0, "uncounted"),
        earlier=EarlierUsage(
            window=window.before,
            amounts=before,
            steps=len(starts),
            total_before=sum(before, Decimal(0)),
            total_now=sum((each.total for each in series), Decimal(0)),
            is_shown=True,
        ),
        unfinished=len(starts) - 1,
    )
    return {
        "figures": figures,
        "series": [(each, "?") for each in series],
        "switch_uncounted": "?",
        "switch_earlier": "?",
    }
