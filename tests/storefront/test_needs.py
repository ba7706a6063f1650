"""The overview says what needs somebody, the worst first, and leads to what mends it."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.ledger.scope import LedgerScope
from metering.models import RefusedCount
from metering.models.check_codes import CheckCode
from revcred.actions import credentials
from revcred.models import Credential, KeyUse, Membership
from storefront.listings import subscription_rows
from storefront.needs import Harm, needs_of_subscriptions, worst_first
from tests import factories

DAY = timedelta(days=1)
KEY = "a-key-that-needs-somebody"


def needs_of(browser):
    return browser.get(reverse("storefront:home")).context["needs"]


def verbs_of(need):
    return [text for text, _ in need.verbs]


def works(browser, need):
    """Each verb leads to a page that this person may open."""
    return {browser.get(address.partition("#")[0]).status_code for _, address in need.verbs}


def a_used_credential(customer, name, *, ago=timedelta(), **fields):
    credential = factories.a_credential(customer, name=name, **fields)
    for key in credential.keys.all():
        KeyUse.objects.create(external_key=key, last_used_at=timezone.now() - ago)
    return credential


def test_who_needs_nothing_is_told_nothing(browser, customer):
    a_used_credential(customer, "fine")

    assert needs_of(browser) == []


def test_calls_with_a_revoked_credential_are_the_worst(browser, customer):
    maps = factories.a_subscription(customer)
    gone = factories.a_credential(customer, key=KEY, name="gone", subscriptions=[maps])
    credentials.revoke_credential(credential=gone, reason="Leaked.", by=None)
    factories.a_credential(customer, key=f"{KEY}-2", name="lost", subscriptions=[maps])
    factories.settled(
        *[factories.a_call(KEY) for _ in range(2)],
        *[factories.a_call(f"{KEY}-2", subscription_named="no such") for _ in range(9)],
    )

    first, second = needs_of(browser)

    assert (first.harm, first.name) == (Harm.USED_AFTER_REVOCATION, "gone")
    assert "something still sends its key" in first.remedy
    assert (second.harm, second.name, second.group.calls) == (Harm.NOT_COUNTED, "lost", 9)
    assert works(browser, first) == works(browser, second) == {200}


def test_refused_calls_are_told_and_observed_ones_are_not(browser, customer):
    mine = a_used_credential(customer, "mine")
    foreign = a_used_credential(factories.a_customer(), "foreign")
    now, gateway = timezone.now(), factories.a_gateway()
    for credential, observed in ((mine, False), (mine, True), (foreign, False)):
        RefusedCount.objects.create(
            hour=now.replace(minute=0, second=0, microsecond=0),
            gateway=gateway,
            credential=credential,
            code=CheckCode.EXPIRED,
            observed=observed,
            calls=7,
            first_at=now,
            last_at=now,
        )

    [need] = needs_of(browser)

    assert (need.harm, need.name) == (Harm.REFUSED, "mine")
    assert need.sentence.startswith("7 calls were refused in the last 7 days")
    assert works(browser, need) == {200}


@pytest.mark.parametrize(
    ("ago", "harm", "verb"),
    [
        (timedelta(minutes=5), Harm.OLD_KEY_USED, "Let it work longer"),
        (3 * DAY, Harm.OLD_KEY_UNUSED, "End it now"),
    ],
)
def test_an_old_key_is_told_by_whether_it_is_still_used(browser, customer, ago, harm, verb):
    credential = a_used_credential(customer, "turning", key=KEY, ago=ago)
    credentials.rotate_credential(
        credential=credential, overlap=3 * DAY, by=None, by_subscriber=True
    )

    [need] = needs_of(browser)

    assert (need.harm, need.name) == (harm, "turning")
    assert verbs_of(need) == ["See which calls use it", verb]
    assert works(browser, need) == {200}


def test_a_viewer_is_not_offered_what_only_others_may(customer, sign_in):
    viewer = factories.a_subscriber(customer, Membership.Role.VIEWER)
    credential = a_used_credential(customer, "turning", key=KEY, holders=[viewer])
    credentials.rotate_credential(credential=credential, overlap=3 * DAY, by=None)

    [need] = needs_of(sign_in(viewer))

    assert verbs_of(need) == ["See which calls use it"]


def test_what_expires_soon_is_told(browser, customer):
    soon = timezone.now() + timedelta(days=9)
    a_used_credential(customer, "short-lived", expires_at=soon)
    a_used_credential(customer, "long-lived", expires_at=soon + 90 * DAY)

    [need] = needs_of(browser)

    assert (need.harm, need.name) == (Harm.EXPIRING, "short-lived")
    assert works(browser, need) == {200}


def test_what_was_never_used_is_told_after_a_week(browser, customer):
    a_used_credential(customer, "used")
    factories.a_credential(customer, name="new")
    for name in ("old", "older"):
        old = factories.a_credential(customer, name=name)
        Credential.objects.filter(pk=old.pk).update(created_at=timezone.now() - 9 * DAY)
    [need] = needs_of(browser)
    assert need.sentence == "2 credentials have never been used."
    assert works(browser, need) == {200}

    Credential.objects.filter(name="older").update(created_at=timezone.now())
    [need] = needs_of(browser)

    assert (need.name, need.sentence) == ("old", "it has never been used.")


def test_a_quota_that_is_used_up_or_will_be_is_told_to_owners(customer):
    # A third of a month is over.
    now = timezone.now().replace(month=9, day=11, hour=0, minute=0, second=0, microsecond=0)
    subscriptions = [
        factories.a_subscription(customer, name=name, quota=quota)
        for name, quota in (("fine", 4000), ("soon", 2000), ("over", 900), ("unlimited", None))
    ]
    for subscription in subscriptions:
        factories.some_usage(subscription, None, now - 2 * DAY, 1000)
    numbers = [subscription.pk for subscription in subscriptions]

    def needs(customers):
        scope = LedgerScope(customers=customers, credentials=[], subscriptions=numbers)
        return list(needs_of_subscriptions(subscription_rows(subscriptions, scope, now)))

    found = worst_first(needs([customer.pk]))
    assert [(need.harm, need.name) for need in found] == [
        (Harm.OVER_QUOTA, "over"),
        (Harm.AHEAD_OF_QUOTA, "soon"),
    ]
    assert "there will be about 3,000" in found[1].sentence
    # A member sees only own calls, of a quota that is for all together.
    assert needs([]) == []


def test_this_month_stands_beside_as_many_days_of_the_last(customer):
    subscription = factories.a_subscription(customer)
    now = timezone.now().replace(month=3, day=11, hour=12, minute=0, second=0, microsecond=0)
    month = now.replace(day=1)
    before = month - DAY
    factories.some_usage(subscription, None, before.replace(day=1), 100)
    factories.some_usage(subscription, None, before.replace(day=10), 100)
    factories.some_usage(
        subscription, None, before.replace(day=11), 5000
    )  # by then it was not over
    factories.some_usage(subscription, None, month, 300)
    factories.some_usage(subscription, None, now, 7000)  # today
    scope = LedgerScope(customers=[customer.pk], credentials=[], subscriptions=[subscription.pk])

    [row] = subscription_rows([subscription], scope, now)

    assert (row.calls_of_days_over, row.calls_before, row.change_percent) == (300, 200, 50)
    assert row.calls_this_month == 7300
    assert row.projected is not None


def test_it_is_too_early_on_the_first_to_say_where_a_month_ends(customer):
    subscription = factories.a_subscription(customer, quota=10)
    now = timezone.now().replace(month=3, day=1, hour=12, minute=0, second=0, microsecond=0)
    factories.some_usage(subscription, None, now, 9)
    scope = LedgerScope(customers=[customer.pk], credentials=[], subscriptions=[subscription.pk])

    [row] = subscription_rows([subscription], scope, now)

    assert (row.projected, row.change_percent) == (None, None)


def test_who_is_new_begins_in_three_steps(browser, customer, sign_in):
    assert "Begin in three steps" in browser.get("/").content.decode()
    fresh = factories.a_credential(
        customer, key=KEY, subscriptions=[factories.a_subscription(customer)]
    )
    page = browser.get("/").content.decode()
    assert f"{reverse('storefront:credential', args=[fresh.pk])}#first-call" in page
    factories.settled(factories.a_call(KEY))

    assert "Begin in three steps" not in browser.get("/").content.decode()
