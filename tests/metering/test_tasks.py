import time

import pytest

from metering import tasks
from metering.attribution.cautious_mode import cautious_mode
from metering.inbox.intake import accept_calls
from metering.models import Claim, Delivery, PartialTransaction, Transaction
from metering.pairing.partial_transactions import PartialSide, accept_partial
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-the-tasks"


@pytest.fixture
def gateway():
    customer = factories.a_customer()
    factories.a_credential(customer, KEY, subscriptions=[factories.a_subscription(customer)])
    return factories.a_gateway()


def test_the_inbox_is_processed_until_it_is_empty(gateway):
    for _ in range(3):
        accept_calls(gateway, [factories.a_call(KEY)])

    tasks.process_inbox()

    assert (Transaction.objects.count(), Delivery.objects.count()) == (3, 0)


def test_between_two_batches_deliveries_may_gather_but_not_in_cautious_mode(gateway):
    accept_calls(gateway, [factories.a_call(KEY)])
    began = time.monotonic()
    tasks.process_inbox()
    assert time.monotonic() - began >= tasks.GATHER_SECONDS

    cautious_mode.enter()
    accept_calls(gateway, [factories.a_call(KEY)])
    began = time.monotonic()
    tasks.process_inbox()
    assert time.monotonic() - began < tasks.GATHER_SECONDS


def test_parts_that_belong_together_are_paired_and_processed(gateway):
    parts = {"transaction_id": "in-two-parts", "undated": True}
    request = factories.a_call(KEY, method="GET", **parts)
    accept_partial(gateway, request, PartialSide.REQUEST)
    accept_partial(gateway, factories.a_call(None, status=200, **parts), PartialSide.RESPONSE)

    tasks.pair_partial_transactions()
    tasks.process_inbox()

    row = Transaction.objects.get()
    assert (row.method, row.status) == ("GET", 200)
    assert not PartialTransaction.objects.exists()


def test_open_claims_are_worked_through(gateway):
    factories.settled(factories.a_call("a-key-of-later"), gateway=gateway)
    customer = factories.a_customer()
    factories.a_credential(
        customer, "a-key-of-later", subscriptions=[factories.a_subscription(customer)]
    )

    tasks.work_open_claims()

    assert Transaction.objects.count() == 1
    assert not Claim.objects.open().exists()
