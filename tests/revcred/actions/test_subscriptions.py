from datetime import timedelta

import pytest
from django.utils import timezone

from revcred.actions import subscriptions
from revcred.models import AuditEvent, Source, Subscription
from tests import factories

pytestmark = pytest.mark.django_db

Verb = AuditEvent.Verb

DAY = timedelta(days=1)
NOW = timezone.now()


@pytest.fixture
def by():
    return factories.a_user("admin@example.com", is_staff=True)


def on_record(subscription):
    events = AuditEvent.objects.about(subscription).order_by("pk")
    return list(events.values_list("verb", "actor", "details"))


# --- start ----------------------------------------------------------------------------------------


def test_starting_saves_it_and_claims_what_named_it(by, announced):
    subscription = Subscription(
        customer=factories.a_customer(),
        product=factories.a_product(),
        external_key="s-1",
        active_from=NOW,
    )

    subscriptions.start_subscription(subscription=subscription, by=by)

    assert Subscription.objects.get() == subscription
    assert on_record(subscription) == [(Verb.CREATED, by.email, {})]
    assert announced == [
        {
            "cause": "subscription “s-1” was added",
            "by": by,
            "since": None,
            "credential": None,
            "subscription": subscription,
            "product": None,
            "upload": None,
            "with_sources": False,
        }
    ]


# --- change ---------------------------------------------------------------------------------------

MONTH = {"active_from": NOW, "active_until": NOW + 30 * DAY}


@pytest.mark.parametrize(
    ("before", "after", "since"),
    [
        (MONTH, {"active_from": NOW - DAY}, NOW - DAY),
        (MONTH, {"active_from": NOW + DAY}, NOW),
        (MONTH, {"active_until": NOW + DAY}, NOW + DAY),
        (MONTH, {"active_until": NOW + 60 * DAY}, NOW + 30 * DAY),
        (MONTH, {"active_until": None}, NOW + 30 * DAY),
        (MONTH | {"active_until": None}, {"active_until": NOW + DAY}, NOW + DAY),
        (MONTH, {"active_from": NOW + DAY, "active_until": NOW + 2 * DAY}, NOW),
        (MONTH, {"external_key": "another"}, NOW),
        (MONTH, {"external_key": "another", "active_from": NOW - DAY}, NOW - DAY),
    ],
)
def test_usage_follows_from_where_before_and_after_differ(by, announced, before, after, since):
    subscription = factories.a_subscription(**before)
    for name, value in after.items():
        setattr(subscription, name, value)

    subscriptions.change_subscription(subscription=subscription, by=by)

    kept = Subscription.objects.values(*after).get(pk=subscription.pk)
    assert kept == after
    ((verb, actor, details),) = on_record(subscription)
    assert (verb, actor, set(details["changed"])) == (Verb.CHANGED, by.email, set(after))
    assert [(each["subscription"], each["since"], each["by"]) for each in announced] == [
        (subscription, since, by)
    ]


def test_usage_follows_to_another_product(announced):
    subscription = factories.a_subscription(**MONTH)
    subscription.product = factories.a_product()

    subscriptions.change_subscription(subscription=subscription, by=None)

    assert [each["since"] for each in announced] == [NOW]


def test_usage_does_not_care_for_a_name(by, announced):
    subscription = factories.a_subscription()
    before = subscription.name
    subscription.name, subscription.quota = "Renamed", 10

    subscriptions.change_subscription(subscription=subscription, by=by)

    changed = {"name": [before, "Renamed"], "quota": [None, 10]}
    assert on_record(subscription) == [(Verb.CHANGED, by.email, {"changed": changed})]
    assert announced == []


def test_nothing_changed_is_nothing_on_record(announced):
    subscription = factories.a_subscription()

    subscriptions.change_subscription(subscription=subscription, by=None)

    assert on_record(subscription) == []
    assert announced == []


# --- end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [NOW - DAY, NOW, NOW + DAY])
def test_it_ends_whenever_it_is_said(by, announced, at):
    subscription = factories.a_subscription()

    subscriptions.end_subscription(subscription=subscription, at=at, by=by)

    assert Subscription.objects.get().active_until == at
    changed = {"active_until": [None, at.isoformat()]}
    assert on_record(subscription) == [(Verb.CHANGED, by.email, {"changed": changed})]
    assert [each["since"] for each in announced] == [at]


def test_one_that_has_ended_keeps_its_end(announced):
    subscription = factories.a_subscription(active_until=NOW - DAY)

    subscriptions.end_subscription(subscription=subscription, by=None)

    assert Subscription.objects.get().active_until == NOW - DAY
    assert announced == []


@pytest.mark.parametrize("at", [NOW - DAY, NOW])
def test_one_that_has_not_started_has_no_end(at):
    subscription = factories.a_subscription(active_from=NOW)

    with pytest.raises(subscriptions.SubscriptionNotStarted):
        subscriptions.end_subscription(subscription=subscription, at=at, by=None)

    assert Subscription.objects.get().active_until is None


# --- sources --------------------------------------------------------------------------------------


def test_other_paths_of_a_source_concern_all_products_with_sources(by, announced):
    source = Source.objects.create(name="Tiles", external_key="tiles")
    factories.a_subscription(active_from=NOW - 9 * DAY)
    without = factories.a_subscription(active_from=NOW - 2 * DAY)
    for each in (without, factories.a_subscription(active_from=NOW - DAY)):
        each.product.sources.add(source)

    subscriptions.announce_paths_changed(source=source, by=by)

    assert [(each["with_sources"], each["since"], each["by"]) for each in announced] == [
        (True, NOW - 2 * DAY, by)
    ]


def test_other_sources_of_a_product_reach_back_to_its_first_subscription(by, announced):
    product = factories.a_product()
    factories.a_subscription(product=product, active_from=NOW - DAY)
    factories.a_subscription(product=product, active_from=NOW)

    subscriptions.announce_sources_changed(product=product, by=by)

    assert [(each["product"], each["since"], each["by"]) for each in announced] == [
        (product, NOW - DAY, by)
    ]


def test_deleting_a_source_concerns_the_others_and_products_left_without(by, announced):
    source, other = (
        Source.objects.create(name=name, external_key=name) for name in ("Tiles", "Maps")
    )
    one, both = factories.a_subscription(), factories.a_subscription()
    one.product.sources.set([source])
    both.product.sources.set([source, other])

    with pytest.raises(subscriptions.LastSourceOfProducts) as refused:
        subscriptions.delete_source(source=Source.objects.get(pk=source.pk), by=by)
    assert refused.value.products == [one.product]
    subscriptions.delete_source(source=Source.objects.get(pk=source.pk), opens=True, by=by)

    assert [(each["with_sources"], each["product"]) for each in announced] == [
        (True, None),
        (False, one.product),
    ]
    assert not Source.objects.filter(pk=source.pk).exists()
    event = AuditEvent.objects.about(source).get()
    assert (event.verb, event.actor, event.details["changed"]["name"]) == (
        Verb.DELETED,
        by.email,
        ["Tiles", None],
    )
