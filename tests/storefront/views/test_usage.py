from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.ledger import gateway_usage
from metering.ledger.daily_usage import sum_up_days
from tests import factories

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
URL = "/usage/"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = "a-key-whose-usage-is-shown"


@pytest.fixture
def maps(customer):
    return factories.a_subscription(customer, name="Maps")


def charts_of(page):
    return [each["figures"] for each in page.context["charts"]]


def totals_of(page):
    [chart] = charts_of(page)
    return {series.name: series.total for series in chart.series}


def text_of(page):
    return " ".join(page.content.decode().split())


def test_usage_is_split_by_what_is_chosen(browser, customer, maps):
    notes = factories.a_subscription(customer, name="Notes")
    shop, app = (factories.a_credential(customer, name=name) for name in ("shop", "app"))
    factories.some_usage(maps, shop, NOON, 10)
    factories.some_usage(maps, app, NOON, 5)
    factories.some_usage(notes, shop, NOON, 1)
    factories.some_usage(maps, shop, NOON, 700, element="tiles")
    days = {"day": "2026-01-15"}

    assert totals_of(browser.get(URL, days)) == {"Maps": 15, "Notes": 1}
    by_credential = days | {"by": "credential"}
    assert totals_of(browser.get(URL, by_credential)) == {"shop": 11, "app": 5}
    assert totals_of(browser.get(URL, by_credential | {"element": "tiles"})) == {"shop": 700}
    assert totals_of(browser.get(URL, by_credential | {"subscription": notes.pk})) == {"shop": 1}
    assert totals_of(browser.get(URL, days | {"credential": app.pk})) == {"Maps": 5}
    elements = charts_of(browser.get(URL, days | {"by": "element"}))
    assert [(chart.element, chart.total) for chart in elements] == [("calls", 16), ("tiles", 700)]


def test_usage_by_gateway_is_that_of_the_ledger(browser, customer, maps):
    factories.a_credential(customer, key=KEY, subscriptions=[maps])
    east, west = factories.a_gateway("east"), factories.a_gateway("west")
    factories.settled(*(factories.a_call(KEY) for _ in range(3)), gateway=east)
    factories.settled(factories.a_call(KEY), gateway=west)

    page = browser.get(URL, {"by": "gateway", "span": "day"})

    assert totals_of(page) == {"east": 3, "west": 1}
    [chart] = charts_of(page)
    assert len({series.colour for series in chart.series}) == 2


def test_too_many_calls_by_gateway_are_told_so(browser, customer, maps, monkeypatch):
    def too_much(*_, **__):
        raise gateway_usage.TooMuchUsage

    monkeypatch.setattr("storefront.views.usage.sum_by_gateway", too_much)

    page = browser.get(URL, {"by": "gateway"})

    assert page.status_code == 200
    assert "Choose fewer days, one credential or one subscription." in text_of(page)


@pytest.mark.parametrize("summed_up", [False, True])
def test_any_days_are_shown_by_hour_day_and_month(browser, maps, summed_up):
    factories.some_usage(maps, None, NOON, 1)
    factories.some_usage(maps, None, NOON + HOUR, 2)
    factories.some_usage(maps, None, NOON + DAY, 4)
    factories.some_usage(maps, None, datetime(2026, 2, 3, 5, tzinfo=UTC), 8)
    factories.some_usage(maps, None, datetime(2026, 2, 4, 5, tzinfo=UTC), 16)  # after the last day
    if summed_up:
        sum_up_days(timezone.now())
    days = {"since": "2026-01-15", "until": "2026-02-03"}

    def amounts(step):
        [chart] = charts_of(browser.get(URL, days | {"step": step}))
        rows = {row.start: row.total for row in chart.rows if row.total}
        assert sum(rows.values()) == chart.total == 15
        return rows

    assert amounts("month") == {
        datetime(2026, 1, 1, tzinfo=UTC): 7,
        datetime(2026, 2, 1, tzinfo=UTC): 8,
    }
    midnight = NOON.replace(hour=0)
    assert amounts("day") == {
        midnight: 3,
        midnight + DAY: 4,
        datetime(2026, 2, 3, tzinfo=UTC): 8,
    }
    assert list(amounts("hour").values()) == [1, 2, 4, 8]


def test_a_year_is_shown_by_months(browser, maps):
    factories.some_usage(maps, None, NOON, 1)

    [chart] = charts_of(browser.get(URL, {"span": "year", "day": "2026-01-15"}))

    assert len(chart.chart["starts"]) == 12
    assert chart.rows[0].total == 1


def test_a_series_is_switched_off_and_on_by_its_address(browser, customer, maps):
    shop, app = (factories.a_credential(customer, name=name) for name in ("shop", "app"))
    factories.some_usage(maps, shop, NOON, 10)
    factories.some_usage(maps, app, NOON, 5)
    days = {"day": "2026-01-15", "by": "credential"}
    whole = browser.get(URL, days)
    address = next(
        switch for series, switch in whole.context["charts"][0]["series"] if series.name == "shop"
    )

    without = browser.get(URL + address)

    [chart] = charts_of(without)
    assert (chart.total, chart.is_whole, len(chart.chart["series"])) == (5, False, 1)
    assert [row.amounts for row in chart.rows if row.total] == [[5]]
    assert "of the series that are shown" in text_of(without)
    back = without.context["charts"][0]["series"][0][1]
    assert charts_of(browser.get(URL + back))[0].total == 15
    # The other credential keeps its colour.
    colours = [{s.name: s.colour for s in charts_of(page)[0].series} for page in (whole, without)]
    assert colours[0] == colours[1]


def test_usage_is_compared_with_the_range_before(browser, maps):
    factories.some_usage(maps, None, datetime(2025, 12, 3, 4, tzinfo=UTC), 8)
    factories.some_usage(maps, None, datetime(2025, 12, 31, 4, tzinfo=UTC), 2)
    factories.some_usage(maps, None, NOON, 15)

    page = browser.get(URL, {"day": "2026-01-15"})

    [chart] = charts_of(page)
    assert (chart.earlier.total_before, chart.earlier.total_now) == (10, 15)
    assert chart.chart["before"][2] == 8
    assert "<b>50 % more</b>, compared with December 2025 (15, before 10)" in text_of(page)
    off = browser.get(URL, {"day": "2026-01-15", "off": "before"})
    assert charts_of(off)[0].chart["before"] is None
    assert "compared with" not in text_of(off)


def test_only_days_that_are_over_are_compared(browser, maps):
    now = timezone.now()
    # A week of which three days are over, and one has begun.
    first = now.replace(hour=0, minute=0, second=0, microsecond=0) - 3 * DAY
    for n in range(7):
        factories.some_usage(maps, None, first - 7 * DAY + n * DAY, 10)
    for n in range(3):
        factories.some_usage(maps, None, first + n * DAY, 12)
    factories.some_usage(maps, None, now, 500)
    days = {"since": f"{first:%Y-%m-%d}", "until": f"{first + 6 * DAY:%Y-%m-%d}", "step": "day"}

    page = browser.get(URL, days)

    [chart] = charts_of(page)
    assert (chart.earlier.total_before, chart.earlier.total_now) == (30, 36)
    assert chart.unfinished == 3
    assert [row.is_unfinished for row in chart.rows] == [False, False, False, True]
    assert "First 3 days: <b>20 % more</b>" in text_of(page)


def test_calls_that_are_not_counted_have_a_series_of_their_own(browser, customer, maps):
    factories.a_credential(customer, key=KEY, subscriptions=[maps])
    factories.settled(factories.a_call(KEY), factories.a_call(KEY, subscription_named="no such"))

    for query in ({"by": "credential"}, {"span": "year"}, {"by": "element"}, {"by": "gateway"}):
        [chart] = charts_of(browser.get(URL, query))
        assert (chart.total, chart.uncounted.total) == (1, 1), query
    [chart] = charts_of(browser.get(URL, {"off": "uncounted"}))
    assert len(chart.chart["series"]) == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "2026-02-31", "until": "x"},
        {"since": "0001-01-01", "until": "9999-12-31"},
        {"since": "2000-01-01", "until": "2199-12-31", "step": "hour"},
        {"since": "2026-05-01"},
        {"by": "moon", "step": "second", "credential": "x", "subscription": "-1"},
        {"off": ["x"] * 500, "element": "\0"},
        {"credential": str(10**30)},
    ],
)
def test_nonsense_is_as_if_it_had_not_been_asked(browser, maps, asked):
    factories.some_usage(maps, None, timezone.now(), 1)

    assert browser.get(URL, asked).status_code == 200


def test_another_customer_s_things_narrow_nothing(browser, maps):
    foreign = factories.a_credential(factories.a_customer())
    factories.some_usage(maps, None, NOON, 1)

    page = browser.get(URL, {"day": "2026-01-15", "credential": foreign.pk})

    assert charts_of(page)[0].total == 1
    assert str(foreign) not in text_of(page)


@pytest.mark.parametrize("split", ["subscription", "credential", "element", "gateway"])
@pytest.mark.parametrize("rows", [1, 3])
def test_the_page_asks_the_same_number_of_questions(
    browser, customer, rows, split, django_assert_max_num_queries
):
    for n in range(rows):
        key = f"a-key-to-count-{n:08}"
        subscription = factories.a_subscription(customer)
        factories.a_credential(customer, key=key, subscriptions=[subscription])
        factories.settled(factories.a_call(key))

    with django_assert_max_num_queries(26):
        browser.get(URL, {"by": split})


def test_htmx_is_answered_with_the_section_alone(browser, maps):
    part = browser.get(reverse("storefront:usage"), headers={"HX-Request": "true"})

    assert part.content.decode().lstrip().startswith('<section id="usage"')
