import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests import factories

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LISTING = "storefront:subscriptions"


@pytest.fixture
def subscription(customer):
    return factories.a_subscription(customer, name="Maps")


def url_of(subscription):
    return reverse("storefront:subscription", args=[subscription.pk])


def text_of(answer):
    return " ".join(answer.content.decode().split())


def table_of(answer):
    """The figures as they stand in the table, row by row."""
    html = answer.content.decode()
    table = html[
        html.index('<details class="figures">') : html.index(
            "</details>", html.index('<details class="figures">')
        )
    ]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells]


def chart_of(answer):
    [found] = re.findall(r'<script type="application/json">(.*?)</script>', answer.content.decode())
    return json.loads(found)


def test_chart_and_table_have_the_same_figures(browser, customer, subscription):
    shop, app = (factories.a_credential(customer, name=name) for name in ("shop", "app"))
    factories.some_usage(subscription, shop, NOON, 1000)
    factories.some_usage(subscription, shop, NOON + timedelta(hours=3), "0.5")
    factories.some_usage(subscription, app, NOON, 20)
    factories.some_usage(subscription, None, NOON - DAY, 3)
    factories.some_usage(subscription, shop, NOON - 40 * DAY, 7)
    factories.some_usage(subscription, shop, NOON, 99, element="tokens")

    days = {"span": "week", "day": "2026-01-15", "off": "before"}
    page = browser.get(url_of(subscription), days)

    assert table_of(page) == [
        ["Day (UTC)", "shop", "app", "Without a credential", "Total"],
        ["Mon 12 Jan", "0", "0", "0", "0"],
        ["Tue 13 Jan", "0", "0", "0", "0"],
        ["Wed 14 Jan", "0", "0", "3", "3"],
        ["Thu 15 Jan", "1,000.5", "20", "0", "1,020.5"],
        ["Fri 16 Jan", "0", "0", "0", "0"],
        ["Sat 17 Jan", "0", "0", "0", "0"],
        ["Sun 18 Jan", "0", "0", "0", "0"],
        ["Total", "1,000.5", "20", "3", "1,023.5"],
    ]
    assert chart_of(page) == {
        "starts": [int((NOON.replace(hour=0) + n * DAY).timestamp()) for n in range(-3, 4)],
        "step": "day",
        "element": "calls",
        "unfinished": None,
        "before": None,
        "series": [
            [0, 0, 0, 1000.5, 0, 0, 0],
            [0, 0, 0, 20, 0, 0, 0],
            [0, 0, 3, 0, 0, 0, 0],
        ],
    }


def test_a_day_is_told_by_the_hour(browser, customer, subscription):
    factories.some_usage(subscription, factories.a_credential(customer), NOON, 5)

    days = {"span": "day", "day": "2026-01-15", "off": "before"}
    table = table_of(browser.get(url_of(subscription), days))

    assert len(table) == 26
    assert [row for row in table if row[-1] != "0"] == [
        ["Hour (UTC)", table[0][1], "Total"],
        ["12:00", "5", "5"],
        ["Total", "5", "5"],
    ]


def test_another_element_can_be_looked_at(browser, customer, subscription):
    credential = factories.a_credential(customer)
    factories.some_usage(subscription, credential, NOON, 5)
    factories.some_usage(subscription, credential, NOON, "12.25", element="tokens <in>")

    page = browser.get(
        url_of(subscription), {"day": "2026-01-15", "element": "tokens <in>", "off": "before"}
    )

    assert table_of(page)[-1] == ["Total", "12.25", "12.25"]
    assert "tokens &lt;in&gt;" in text_of(page)


def test_the_many_are_told_together(browser, customer, subscription):
    for n in range(8):
        credential = factories.a_credential(customer, name=f"credential {n}")
        factories.some_usage(subscription, credential, NOON, 10 + n)

    days = {"day": "2026-01-15", "off": "before"}
    table = table_of(browser.get(url_of(subscription), days))

    named = [f"credential {n}" for n in (7, 6, 5, 4, 3, 2)]
    assert table[0] == ["Day (UTC)", *named, "Other credentials", "Total"]
    assert table[-1] == ["Total", "17", "16", "15", "14", "13", "12", "21", "108"]


def test_a_name_cannot_leave_the_data_of_the_chart(browser, customer, subscription):
    credential = factories.a_credential(customer, name="</script><script>alert(1)</script>")
    factories.some_usage(subscription, credential, NOON, 5)

    page = browser.get(url_of(subscription), {"day": "2026-01-15"}).content.decode()

    assert "<script>alert" not in page


@pytest.mark.parametrize(
    "asked",
    [
        {"span": "century"},
        {"day": "yesterday"},
        {"day": "0001-01-01"},
        {"day": "9999-12-31"},
        {"day": "2026-02-31"},
        {"element": "\0"},
        {"element": "x" * 5000},
        {"span": ["day", "week"], "day": "", "element": ""},
    ],
)
def test_nonsense_is_as_if_it_had_not_been_asked(browser, subscription, asked):
    assert browser.get(url_of(subscription), asked).status_code == 200


def test_htmx_is_answered_with_the_section_alone(browser, subscription):
    url = url_of(subscription)

    part = browser.get(url, headers={"HX-Request": "true"})
    restored = browser.get(
        url, headers={"HX-Request": "true", "HX-History-Restore-Request": "true"}
    )

    assert part.content.decode().lstrip().startswith('<section id="usage"')
    assert "<html" in restored.content.decode()
    assert {"HX-Request" in each["Vary"] for each in (part, restored, browser.get(url))} == {True}


def test_the_links_lead_on(browser, subscription):
    context = browser.get(url_of(subscription), {"day": "2026-01-15"}).context

    assert context["previous"] == "?element=calls&span=month&day=2025-12-01"
    assert context["following"] == "?element=calls&span=month&day=2026-02-01"
    assert context["spans"] == [
        ("Day", "?element=calls&span=day&day=2026-01-01", False),
        ("Week", "?element=calls&span=week&day=2026-01-01", False),
        ("Month", "?element=calls&span=month&day=2026-01-01", True),
        ("Year", "?element=calls&span=year&day=2026-01-01", False),
    ]
    assert browser.get(url_of(subscription)).context["following"] is None


def test_a_member_sees_what_own_credentials_used_and_is_told_so(customer, sign_in):
    subscription = factories.a_subscription(customer, quota=1000)
    member = factories.a_subscriber(customer)
    mine = factories.a_credential(
        customer, key="the-key-of-the-member", subscriptions=[subscription], holders=[member]
    )
    anothers = factories.a_credential(
        customer, name="anothers", key="the-key-of-another", subscriptions=[subscription]
    )
    factories.settled(
        factories.a_call("the-key-of-the-member", transaction_id="mine-1"),
        factories.a_call("the-key-of-another", transaction_id="anothers-1"),
    )

    page = sign_in(member).get(url_of(subscription))

    assert [series.name for series in page.context["charts"][0]["figures"].series] == [mine.name]
    assert page.context["calls_this_month"] == 1
    assert [each.transaction_id for each in page.context["transactions"]] == ["mine-1"]
    said = text_of(page)
    assert "You see only the usage of credentials that you hold" in said
    assert "<progress" not in said
    assert anothers.name not in said


def test_an_owner_sees_the_quota_and_how_much_of_it_is_used(browser, customer):
    subscription = factories.a_subscription(customer, quota=2000)
    factories.some_usage(subscription, None, timezone.now(), 500)

    said = text_of(browser.get(url_of(subscription)))

    assert "of 2,000 (25 %)" in said
    assert 'max="2000"' in said


def test_the_list_tells_the_calls_of_this_month(browser, subscription):
    factories.some_usage(subscription, None, timezone.now(), 1234)
    factories.some_usage(subscription, None, timezone.now() - 70 * DAY, 5)

    [row] = browser.get(reverse(LISTING)).context["rows"]

    assert (row.calls_this_month, row.calls_by_day[-1]) == (1234, 1234)
    assert len(row.calls_by_day) == 30


@pytest.mark.parametrize("rows", [1, 3])
def test_the_list_asks_the_same_number_of_questions(
    browser, customer, rows, django_assert_num_queries
):
    for _ in range(rows):
        factories.some_usage(factories.a_subscription(customer), None, timezone.now(), 1)

    with django_assert_num_queries(9):
        browser.get(reverse(LISTING))


@pytest.mark.parametrize("rows", [1, 3])
def test_a_page_asks_the_same_number_of_questions(
    browser, customer, subscription, rows, django_assert_num_queries
):
    for n in range(rows):
        key = f"a-key-to-count-{n:08}"
        factories.a_credential(customer, key=key, subscriptions=[subscription])
        factories.settled(factories.a_call(key))

    with django_assert_num_queries(18):
        browser.get(url_of(subscription))


def test_whose_session_ended_is_sent_to_sign_in_as_a_whole(browser, subscription):
    url = reverse("storefront:subscription", args=[subscription.pk])

    answer = Client().get(f"{url}?span=week", headers={"hx-request": "true"})

    assert answer.status_code == 401
    assert answer["HX-Redirect"] == f"{reverse('account_login')}?next={url}%3Fspan%3Dweek"
    assert answer.content == b""


def test_a_credential_keeps_its_colour(browser, customer, subscription):
    keys = [f"a-key-with-a-colour-{n}" for n in range(3)]
    made = [
        factories.a_credential(customer, key=key, name=key, subscriptions=[subscription])
        for key in keys
    ]
    url = reverse("storefront:subscription", args=[subscription.pk])

    def colours():
        shown = browser.get(url).context["charts"][0]["figures"].series
        return {series.name: series.colour for series in shown}

    factories.settled(factories.a_call(keys[2]))
    alone = colours()
    # Whoever uses most comes first, whatever the colour.
    factories.settled(*[factories.a_call(key) for key in keys for _ in range(5)])
    together = colours()

    assert len(set(together.values())) == 3
    assert alone == {made[2].name: together[made[2].name]}


def test_two_that_would_have_one_colour_are_told_apart(browser, customer, subscription):
    made = [
        factories.a_credential(
            customer, key=f"a-key-of-many-{n:03}", name=f"number {n}", subscriptions=[subscription]
        )
        for n in range(7)
    ]
    factories.settled(factories.a_call("a-key-of-many-000"), factories.a_call("a-key-of-many-006"))

    shown = browser.get(reverse("storefront:subscription", args=[subscription.pk]))

    colours = {
        series.name: series.colour for series in shown.context["charts"][0]["figures"].series
    }
    assert len(set(colours.values())) == len(colours) == 2
    assert set(colours) == {made[0].name, made[6].name}


def test_nothing_used_says_so(browser, subscription):
    assert "No usage in" in text_of(browser.get(url_of(subscription)))
