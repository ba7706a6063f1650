"""Two parts become one transaction, in whatever order and however far apart they come."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import ONE_CALL
from metering.ledger import receipts
from metering.models import PartialTransaction, Quarantined, Transaction
from metering.pairing import completion
from metering.pairing.completion import pair_due_partials
from metering.pairing.partial_transactions import PartialSide, accept_partial
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "key-of-a-request"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge")


@pytest.fixture(autouse=True)
def subscription(db):
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, name="Maps")
    factories.a_credential(customer, KEY, subscriptions=[subscription])
    return subscription


@pytest.fixture
def come(gateway):
    """Accept one part, and do all the work that is due."""

    def come(side, *, transaction_id="t-1", **fields):
        said = {"transaction_id": transaction_id, "undated": True}
        if side == PartialSide.REQUEST:
            said |= {"method": "GET", "path": "/maps/1", "request_bytes": 10}
            half = factories.a_call(KEY, **said | fields)
        else:
            said |= {"status": 200, "response_bytes": 99, "latency_ms": 12.5}
            half = factories.a_call(**said | fields)
        accept_partial(gateway, half, side)
        work()

    return come


def work():
    PartialTransaction.objects.filter(next_look_at__gt=Now()).exclude(
        received_at__gt=Now() - WAIT
    ).update(next_look_at=Now())
    while pair_due_partials():
        pass
    process_waiting_deliveries()


WAIT = timedelta(seconds=600)


def hours_pass():
    """Make the waiting parts three hours older."""
    for half in PartialTransaction.objects.all():
        PartialTransaction.objects.filter(pk=half.pk).update(received_at=Now() - timedelta(hours=3))
    work()


def joined():
    row = Transaction.objects.standing().get()
    assert row.elements == ONE_CALL
    assert (row.method, row.path, row.request_bytes) == ("GET", "/maps/1", 10)
    assert (row.status, row.response_bytes, row.latency_ms) == (200, 99, 12.5)
    assert not PartialTransaction.objects.exists()
    return row


@pytest.mark.parametrize("first", PartialSide)
def test_parts_are_paired_in_any_order(come, subscription, first):
    (second,) = set(PartialSide) - {first}

    come(first)
    assert not Transaction.objects.exists()
    come(second)

    assert joined().subscription == subscription
    assert Transaction.objects.count() == 1


def test_a_request_whose_response_never_comes_is_attributed_after_a_time(come, subscription):
    come(PartialSide.REQUEST)
    hours_pass()

    row = Transaction.objects.get()
    assert (row.subscription, row.status) == (subscription, None)


def test_a_late_response_completes_it_by_a_correction(come, gateway, subscription):
    come(PartialSide.REQUEST)
    hours_pass()
    come(PartialSide.RESPONSE)

    joined()
    assert Transaction.objects.count() == 3
    assert [each["sign"] for each in Transaction.objects.order_by("pk").values("sign")].count(
        -1
    ) == 1
    receipt = receipts.find_receipt(gateway, "t-1")
    assert [moment.what for moment in receipt.history] == [
        "Received from edge",
        "Attributed to Maps",
        "Corrected: now Maps, because its other part came",
    ]
    (usage,) = subscription.usage.all()
    assert (usage.count, usage.quantity) == (1, 1)


def test_a_late_request_gives_the_response_an_owner(come, gateway):
    come(PartialSide.RESPONSE)
    hours_pass()
    assert Quarantined.objects.get().reason == "anonymous"
    come(PartialSide.REQUEST)

    joined()
    assert not Quarantined.objects.exists()
    receipt = receipts.find_receipt(gateway, "t-1")
    assert [moment.what for moment in receipt.history] == [
        "Received from edge",
        "Quarantined: Neither a key nor a subscription is named",
        "Attributed to Maps, because its other part came",
    ]


def test_a_late_part_completes_a_transaction_in_quarantine(come):
    come(PartialSide.RESPONSE)
    hours_pass()
    come(PartialSide.REQUEST, fingerprint=None, hint=None)

    row = Quarantined.objects.get()
    assert (row.reason, row.method, row.status) == ("anonymous", "GET", 200)


@pytest.mark.parametrize("first", PartialSide)
def test_one_that_comes_while_the_other_is_looked_at_waits_for_nothing(
    come, gateway, monkeypatch, first
):
    """Its statement began before the first was read, and was committed after."""
    (second,) = set(PartialSide) - {first}
    come(second, transaction_id="t-2")
    PartialTransaction.objects.update(next_look_at=Now() + WAIT)
    began = timezone.now()
    take_in = completion._accept_ready

    def take_in_meanwhile(ripe):
        take_in(ripe)
        PartialTransaction.objects.filter(side=second).update(
            dedup_key=PartialTransaction.objects.get(side=first).dedup_key,
            next_look_at=began,
            received_at=began,
        )

    monkeypatch.setattr(completion, "_accept_ready", take_in_meanwhile)
    fields = {"method": "GET"} if first == PartialSide.REQUEST else {"status": 200}
    half = factories.a_call(KEY if first == PartialSide.REQUEST else None, undated=True, **fields)
    accept_partial(gateway, half, first)
    pair_due_partials()
    monkeypatch.undo()

    pair_due_partials()
    process_waiting_deliveries()
    row = Transaction.objects.get()
    assert (row.method, row.status) == ("GET", 200)
    assert not PartialTransaction.objects.exists()


@pytest.mark.parametrize("side", PartialSide)
def test_a_part_sent_again_changes_nothing(come, side):
    come(PartialSide.REQUEST)
    come(side)
    come(PartialSide.RESPONSE)
    come(side)
    hours_pass()
    come(side, latency_ms=99)

    joined()
    assert Transaction.objects.count() == 1


def test_a_late_part_corrects_the_ledger_once(come):
    come(PartialSide.REQUEST)
    hours_pass()
    come(PartialSide.RESPONSE)
    come(PartialSide.RESPONSE)
    come(PartialSide.REQUEST)

    joined()
    assert Transaction.objects.count() == 3


def test_parts_of_other_transactions_are_not_paired(come):
    come(PartialSide.REQUEST, transaction_id="a")
    come(PartialSide.RESPONSE, transaction_id="b")

    assert PartialTransaction.objects.count() == 2


def test_a_partial_transaction_has_a_receipt(come, gateway):
    come(PartialSide.REQUEST)

    receipt = receipts.find_receipt(gateway, "t-1")
    assert (receipt.state, receipt.method) == ("waiting", "GET")
    assert [moment.what for moment in receipt.history] == [
        "Received from edge",
        "Waits for its response",
    ]
