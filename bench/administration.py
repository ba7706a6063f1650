"""How long each page of the administration takes, and its queries: `make bench-admin`.

A million credentials of 200,000 customers, one of whom has a tenth of them, 300,000 people, a
million audit events, three million transactions of a month. Lists are asked for with each of their
filters. Each page is asked for by a superuser inside one process, so that its queries can be
counted; the web server adds a millisecond or two.
"""

import json
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from statistics import median
from typing import Any

from bench import report, seed_administration
from bench.seed_history import load
from bench.sizes import customers_of
from bench.stack import Bench, a_bench, arguments, say
from bench.traffic import key

TIMES = 3
TRANSACTIONS = 3_000_000
GOAL, SEARCH_GOAL = 0.3, 0.2  # seconds
MAX_CHOICES_TRIED = 6  # of a filter, such as that of all verbs of the audit
SIZES = """
SELECT indexrelid::regclass::text, pg_size_pretty(pg_relation_size(indexrelid)), reltuples::bigint
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE indexrelid::regclass::text LIKE '%_by_search_text' ORDER BY 1
"""


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS)
    options = parser.parse_args()
    with a_bench(options.credentials) as bench:
        seed_administration.fill(bench, customers_of(options.credentials))
        load(bench, options.transactions)
        return show(bench)


def show(bench: Bench) -> int:
    """Print a row for each page. Return 1 if one failed or took longer than its goal."""
    pages = json.loads(bench.call("bench.administration.timed_pages", bench.credentials))
    say()
    report.table(
        ["page", "status", "median ms", "worst ms", "queries", "goal ms", ""],
        [
            [
                *(page["name"], str(page["status"])),
                *(f"{page['median'] * 1e3:,.0f}", f"{page['worst'] * 1e3:,.0f}"),
                *(str(page["queries"]), f"{page['goal'] * 1e3:.0f}"),
                "reached" if page["median"] <= page["goal"] else "MISSED",
            ]
            for page in pages
        ],
    )
    say()
    lines = [[name, size, f"{rows:,}"] for name, size, rows in bench.database.execute(SIZES)]
    report.table(["index of the search", "size", "rows"], lines)
    is_good = all(
        page["status"] == HTTPStatus.OK and page["median"] <= page["goal"] for page in pages
    )
    return 0 if is_good else 1


def timed_pages(credentials: int) -> None:
    """Print the pages as JSON. Runs where the application is configured."""
    say(json.dumps(list(_timed_pages(credentials))))


def _timed_pages(credentials: int) -> Iterator[dict[str, Any]]:
    from django.test import Client  # noqa: PLC0415

    from revcred.models import User  # noqa: PLC0415

    browser = Client(SERVER_NAME="127.0.0.1", headers={"x-forwarded-proto": "https"})
    email = "administration@revcred.example"
    user = User.objects.filter(email=email).first()
    browser.force_login(user or User.objects.create_superuser(email, None))
    for name, path in _pages():
        yield _timed(browser, name, path, GOAL)
    for name, term in _terms(credentials):
        yield _timed(browser, f"search: {name}", "/admin/search/", SEARCH_GOAL, term=term)


def _timed(browser: Any, name: str, path: str, goal: float, **form: str) -> dict[str, Any]:
    from django.db import connection  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    seconds = []
    for _ in range(TIMES):
        with CaptureQueriesContext(connection) as queries:
            began = time.perf_counter()
            answer = browser.post(path, form) if form else browser.get(path)
            seconds.append(time.perf_counter() - began)
    # The only hit of a search is shown at once: its page is counted by itself.
    is_hit = form and answer.status_code == HTTPStatus.FOUND
    return {
        "name": name,
        "status": HTTPStatus.OK if is_hit else answer.status_code,
        "median": median(seconds),
        "worst": max(seconds),
        "queries": len(queries),
        "goal": goal,
    }


def _pages() -> Iterator[tuple[str, str]]:
    """Yield every list, its first row's page and history, and lists as people narrow them."""
    from django.contrib.admin import site  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415

    yield "overview", reverse("admin:index")
    for model, page in list(site._registry.items()):  # noqa: SLF001 - all that is there
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        address = reverse(f"admin:{name}_changelist")
        yield f"{model._meta.model_name}: list", address
        first = model._base_manager.order_by("pk").values_list("pk", flat=True).first()
        rows = {"page": first, "the largest's page": LARGEST.get(name)}
        for label, row in rows.items():
            if row is not None:
                url = reverse(f"admin:{name}_change", args=[row])
                yield f"{model._meta.model_name}: {label}", url
                history = reverse(f"admin:{name}_history", args=[row])
                yield f"{model._meta.model_name}: history", history
        queries = dict.fromkeys([*NARROWED.get(name, ()), *_filter_queries(page)])
        for query in queries:
            yield f"{model._meta.model_name}: ?{query}", f"{address}?{query}"


# Pages of what has most, by the list's name.
LARGEST = {"revcred_customer": seed_administration.LARGEST_CUSTOMER}
# Lists as people narrow them, besides each filter by itself.
NARROWED: dict[str, tuple[str, ...]] = {
    "revcred_credential": (
        *("p=190", "customer=7", "customer=8", "q=Harbour", "tag=nobody-has-it"),
        *("customer=7&never_used=yes", "state=suspended&unused_since=2026-01-01"),
    ),
    "revcred_subscription": ("customer=7", "product=3", "q=harbour", "product=3&state=ended"),
    "revcred_customer": ("p=190", "q=kase", "tag=nobody-has-it"),
    "metering_transaction": ("p=190", "subscription=7", "credential=7", "gateway=1"),
    "metering_usage": ("subscription=7",),
}
TYPED = {
    "tag": "partner",
    "environment": "staging",
    "who": "admin1@example.com",
    "whom": "Thing 7",
    "status": "5xx",
    "path": "/v1/",
    "code": "too_old",
    "element": "calls",
    "door": "/v1/transactions",
}


def _filter_queries(page: Any) -> Iterator[str]:
    """Yield the part of an address for each filter of a list, and for each of its few choices."""
    from django.test import RequestFactory  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from revcred.admin_toolkit.filters import (  # noqa: PLC0415
        ChoiceFilter,
        LinkedFilter,
        MomentFilter,
        TextFilter,
    )

    request = RequestFactory().get("/")
    now = timezone.now()
    for each in page.list_filter:
        if issubclass(each, ChoiceFilter):
            choices = each(request, {}, page.model, page).lookup_choices
            values = [value for value, _ in choices][:MAX_CHOICES_TRIED]
        elif issubclass(each, MomentFilter):
            values = [f"{now - timedelta(days=days):%Y-%m-%d}" for days in (1, 30, 400)]
        elif issubclass(each, LinkedFilter) and hasattr(each, "model"):
            first = each.model._base_manager.order_by("pk").values_list("pk", flat=True).first()
            values = [first]
        elif issubclass(each, TextFilter):
            values = [TYPED[each.parameter_name]]
        else:
            values = []
        for value in values:
            yield f"{each.parameter_name}={value}"


def _terms(credentials: int) -> Iterator[tuple[str, str]]:
    some = key(credentials // 2)
    yield "a whole key", some
    yield "a key as a header's line", f"Authorization: Bearer {some}"
    yield "a key nobody has", "nobody-has-this-key"
    yield "last four characters", some[-4:]
    yield "an e-mail address", "person4711@foods.example"
    yield "a part of an address", "4711@foods"
    yield "a customer, without accents", "zurich kase"
    yield "the middle of a word", "arbou"
    yield "a word that all have", "credential"
    yield "a word and a number", "credential 4711"
    yield "two letters", "ab"
    yield "an external key", "sub-150123"
    yield "a transaction's id", "history-12345"
    yield "nothing", "qwxyz plugh"


if __name__ == "__main__":
    sys.exit(main())
