"""The short way to a receipt: what it leaves to the long way, and what it asks."""

from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from metering.inbox.calls import dedup_key_of_id
from metering.ledger import plain_transactions, receipts
from metering.ledger.plain_transactions import NAMED_IN_RECEIPT, find_plain_transaction
from metering.models import Transaction
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "the-key-of-the-plain-one"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge")


@pytest.fixture
def call(gateway):
    customer = factories.a_customer("Acme")
    factories.a_credential(customer, KEY, subscriptions=[factories.a_subscription(customer)])
    call = factories.a_call(KEY, elements={"gb": 2}, metadata={"region": "eu"})
    factories.settled(call, gateway=gateway)
    return call


def test_it_is_loaded_as_django_loads_it(gateway, call):
    standing = Transaction.objects.get()

    with CaptureQueriesContext(connection) as queries:
        found = find_plain_transaction([UUID(dedup_key_of_id(gateway.pk, call.transaction_id))])
        named = {name: getattr(found, name) for name in NAMED_IN_RECEIPT}

    assert not queries.captured_queries
    assert found == standing
    for field in Transaction._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(standing, field.attname)
    assert named == {name: getattr(standing, name) for name in NAMED_IN_RECEIPT}
    assert vars(named["customer"]).keys() == vars(standing.customer).keys()


def test_a_receipt_of_it_is_that_of_the_long_way(gateway, call):
    with CaptureQueriesContext(connection) as queries:
        short = receipts.find_receipt(gateway, call.transaction_id)

    assert not queries.captured_queries
    assert short == receipts.receipt_of_row(Transaction.objects.get())


def test_a_conflict_is_left_to_the_long_way(gateway, call):
    factories.settled(
        factories.a_call(KEY, transaction_id=call.transaction_id, elements={"gb": 3}),
        gateway=gateway,
    )

    assert not find_plain_transaction([UUID(dedup_key_of_id(gateway.pk, call.transaction_id))])
    assert len(receipts.find_receipt(gateway, call.transaction_id).conflicts) == 1


def test_nothing_is_found_under_another_key():
    assert find_plain_transaction([UUID(int=1)]) is None


def test_no_table_is_read_whole(gateway, call):
    """Each look-up is by an index, also by a plan made on tables that are nearly empty."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            f"EXPLAIN {plain_transactions._statement()}",
            {"keys": [UUID(dedup_key_of_id(gateway.pk, call.transaction_id))]},
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Seq Scan" not in plan, plan
