"""Filters of metering: of calls whose period is bounded where no index leads to them."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.models import Transaction
from tests.factories import a_call, a_credential, a_customer, a_gateway, a_subscription, settled

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-of-some-length"
LIST = reverse("admin:metering_transaction_changelist")
QUARANTINE = reverse("admin:metering_quarantined_changelist")


def ids(client, address=LIST, **query) -> set[str]:
    response = client.get(address, query, follow=True)
    return {each.transaction_id for each in response.context["cl"].result_list}


@pytest.fixture
def subscription():
    customer = a_customer("Acme")
    subscription = a_subscription(customer)
    a_credential(customer, key=KEY, subscriptions=[subscription])
    settled(
        a_call(KEY, transaction_id="ok", status=200, path="/v1/maps", elements={"calls": 1}),
        a_call(KEY, transaction_id="bad", status=503, path="/v1/maps/9", elements={"tokens": 50}),
        a_call(
            KEY,
            transaction_id="old",
            status=404,
            path="/v2",
            elements={"tokens": 7},
            ago=timedelta(days=3),
        ),
    )
    return subscription


def test_calls_are_found_by_status_path_and_element(admin_client, subscription):
    long_ago = f"{timezone.now() - timedelta(days=10):%Y-%m-%d}"

    assert ids(admin_client, status="5xx") == {"bad"}
    assert ids(admin_client, status="200") == {"ok"}
    assert ids(admin_client, status="9xx") == set()
    assert ids(admin_client, path="/v1/maps") == {"ok", "bad"}
    assert ids(admin_client, path="/v1/maps/") == {"bad"}
    assert ids(admin_client, element="tokens") == {"bad"}
    assert ids(admin_client, element="tokens", since=long_ago) == {"bad", "old"}
    assert ids(admin_client, element="tokens >= 10", since=long_ago) == {"bad"}
    assert ids(admin_client, correction="yes") == set()
    assert ids(admin_client, matched_by="key") == {"ok", "bad"}
    # Indexes lead to a customer's calls, so all of them are looked at.
    assert ids(admin_client, customer=subscription.customer_id) == {"ok", "bad", "old"}
    assert ids(admin_client, customer=subscription.customer_id, status="4xx") == {"old"}


def test_without_an_index_the_latest_day_is_shown_and_the_address_says_so(
    admin_client, subscription
):
    response = admin_client.get(LIST, {"status": "5xx"})

    day_ago = timezone.now() - timedelta(days=1)
    assert response.url.startswith(f"{LIST}?status=5xx&since={day_ago:%Y-%m-%d}+")
    page = admin_client.get(response.url)
    assert [each.title for each in page.context["cl"].chosen_filters] == ["status", "since"]


def test_a_period_that_ends_begins_a_day_before_its_end(admin_client, subscription):
    row = Transaction.objects.get(transaction_id="old")
    end = f"{row.occurred_at + timedelta(minutes=5):%Y-%m-%d %H:%M}"

    assert ids(admin_client, before=end) == {"old"}


def test_waiting_calls_are_listed_one_by_one_where_groups_do_not_tell(admin_client):
    edge = a_gateway()
    settled(
        a_call(transaction_id="nobody's", path="/v1/x", status=500),
        a_call("an-unknown-key-1", transaction_id="unknown", path="/v1/y"),
        gateway=edge,
    )

    assert ids(admin_client, QUARANTINE, path="/v1/x") == {"nobody's"}
    assert ids(admin_client, QUARANTINE, reviewed="no") == {"nobody's", "unknown"}
    assert ids(admin_client, QUARANTINE, reviewed="no", reason="anonymous") == {"nobody's"}
    assert ids(admin_client, QUARANTINE, status="5xx", gateway=edge.pk) == {"nobody's"}
    assert "groups" in admin_client.get(QUARANTINE, {"gateway": edge.pk}).context
