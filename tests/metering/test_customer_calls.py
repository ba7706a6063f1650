from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from metering.customer_calls import CallFilter, find_sent_calls, list_calls
from metering.models import Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.models import Credential, Membership
from storefront.access import own_ledger_scope, own_uncounted_calls
from tests import factories

KEY, OTHER_KEY = "a-key-of-one-credential", "a-key-of-another-one"


@pytest.fixture
def customer(db):
    return factories.a_customer()


@pytest.fixture
def owner(customer):
    return factories.a_subscriber(customer, Membership.Role.OWNER).user


def listed(user, *, after=None, rows=100, **wanted):
    now = timezone.now()
    period = {"start": now - timedelta(days=30), "end": now + timedelta(days=1)}
    return list_calls(
        own_ledger_scope(user),
        own_uncounted_calls(user),
        CallFilter(**period | wanted),
        after=after,
        rows=rows,
    )


def test_pages_hold_every_call_once_counted_or_not(customer, owner):
    maps, tiles = (factories.a_subscription(customer) for _ in range(2))
    factories.a_credential(customer, key=KEY, subscriptions=[maps])
    factories.a_credential(customer, key=OTHER_KEY, subscriptions=[tiles])
    # Three at one moment, so that the id decides.
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    factories.settled(
        *(factories.a_call(KEY, occurred_at=at) for _ in range(3)),
        *(factories.a_call(OTHER_KEY, ago=timedelta(minutes=n)) for n in range(3)),
        *(factories.a_call(KEY, occurred_at=at, subscription_named="none") for _ in range(3)),
    )

    pages, after = [], None
    while page := listed(owner, after=after, rows=2):
        pages += page
        after = page[-1].position

    kept = {*Transaction.objects.values_list("pk", flat=True)}
    kept |= {*Quarantined.objects.values_list("pk", flat=True)}
    assert len(kept) == 9
    assert {call.id for call in pages} == kept
    places = [(call.occurred_at, call.id) for call in pages]
    assert places == sorted(places, reverse=True)


def test_filters(customer, owner):
    maps, tiles = (factories.a_subscription(customer) for _ in range(2))
    first = factories.a_credential(customer, key=KEY, subscriptions=[maps])
    second = factories.a_credential(customer, key=OTHER_KEY, subscriptions=[tiles])
    edge = factories.a_gateway()
    factories.settled(
        factories.a_call(KEY, transaction_id="a", status=200),
        factories.a_call(OTHER_KEY, transaction_id="b", status=503),
        factories.a_call(KEY, transaction_id="c", status=500, subscription_named="none"),
        gateway=edge,
    )
    factories.settled(factories.a_call(KEY, transaction_id="d", ago=timedelta(days=3)))
    now, key = timezone.now(), first.keys.get().fingerprint

    found = {
        str(wanted): "".join(sorted(call.transaction_id for call in listed(owner, **wanted)))
        for wanted in (
            {},
            {"counted": True},
            {"counted": False},
            {"credential": second.pk},
            {"subscription": maps.pk},
            {"statuses": (500, 599)},
            {"gateway": edge.pk},
            {"key": key},
            {"sent": find_sent_calls("c")},
            {"sent": find_sent_calls("d"), "counted": True},
            {"end": now - timedelta(days=2)},
        )
    }

    assert list(found.values()) == [
        "abcd", "abd", "c", "b", "acd", "bc", "abc", "acd", "c", "d", "d",
    ]  # fmt: skip


def test_a_corrected_call_is_listed_once_where_it_is_now(customer, owner):
    maps, tiles = (factories.a_subscription(customer) for _ in range(2))
    credential = factories.a_credential(customer, key=KEY, subscriptions=[maps])
    factories.settled(factories.a_call(KEY, transaction_id="moved", ago=timedelta(hours=1)))
    at = timezone.now() - timedelta(hours=2)
    credentials.move_credential(credential=credential, subscription=maps, to=tiles, by=None, at=at)
    reattribution.work_through_claims()

    (call,) = listed(owner, sent=find_sent_calls("moved"))
    assert (call.subscription_id, len(listed(owner))) == (tiles.pk, 1)


def test_a_key_means_whoever_had_it_at_the_moment_of_the_call(db):
    """A string that passed from one customer to another shows each its own calls only."""
    now = timezone.now()
    first, second = (factories.a_credential(key=f"another-key-{n}") for n in range(2))
    key = {"alias": KEY, "by": None, "use_again": True}
    earlier = credentials.add_alias(credential=first, active_from=now - timedelta(days=9), **key)
    credentials.end_key(key=earlier, by=None, at=now - timedelta(days=5))
    credentials.add_alias(credential=second, active_from=now - timedelta(days=2), **key)
    # Before either, of the first, after its end, of the second.
    factories.settled(*(factories.a_call(KEY, ago=timedelta(days=days)) for days in (12, 7, 4, 1)))

    def of(credential):
        waiting = Quarantined.objects.of_credentials(Credential.objects.filter(pk=credential.pk))
        return sorted(round((now - call.occurred_at) / timedelta(days=1)) for call in waiting)

    assert (of(first), of(second)) == ([4, 7], [1])
