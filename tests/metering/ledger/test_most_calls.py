"""Whoever made most calls comes first, as far as usage was read."""

from datetime import timedelta

import pytest
from django.utils import timezone

from metering.ledger import most_calls
from metering.ledger.most_calls import RankedParty, rank_calls
from tests import factories

pytestmark = pytest.mark.django_db

BUSY, QUIET = "a-key-of-the-busy-W1x2", "a-key-of-the-quiet-Y3z4"


@pytest.fixture
def credentials():
    credentials = [
        factories.a_credential(
            customer := factories.a_customer(),
            key=key,
            subscriptions=[factories.a_subscription(customer)],
        )
        for key in (QUIET, BUSY)
    ]
    # In two elements: each call counts once all the same.
    busy = [factories.a_call(BUSY, elements={"calls": 1, "tokens": 70}) for _ in range(3)]
    factories.settled(*busy, factories.a_call(QUIET), factories.a_call("of-nobody-Q5r6"))
    return credentials


def test_calls_are_ranked_by_each_party(credentials):
    since = timezone.now() - timedelta(hours=2)
    quiet, busy = credentials

    assert list(rank_calls(RankedParty.CREDENTIAL, since=since, most=9).calls.items()) == [
        (busy.pk, 3),
        (quiet.pk, 1),
    ]
    customers = rank_calls(RankedParty.CUSTOMER, since=since, most=1)
    assert (customers.calls, customers.is_cut) == ({busy.customer_id: 3}, False)
    assert rank_calls(RankedParty.PRODUCT, since=timezone.now(), most=9).calls == {}


def test_it_is_said_where_not_all_rows_of_the_period_were_read(credentials, monkeypatch):
    monkeypatch.setattr(most_calls, "MAX_USAGE_ROWS_READ", 1)

    found = rank_calls(RankedParty.CUSTOMER, since=timezone.now() - timedelta(hours=2), most=9)

    assert found.is_cut
    assert len(found.calls) == 1
