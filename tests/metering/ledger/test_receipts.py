from datetime import timedelta

import pytest
from django.utils import timezone

from metering.inbox.intake import accept_calls
from metering.ledger import receipts
from metering.ledger.receipts import ReceiptState
from metering.models import Quarantined, Transaction
from metering.quarantine import actions, reattribution
from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from tests import factories
from tests.metering.attribution.test_processing import DAY

pytestmark = pytest.mark.django_db

KEY = "the-key-of-the-receipts"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge")


@pytest.fixture
def credential():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, name="Maps")
    return factories.a_credential(customer, KEY, subscriptions=[subscription])


def history(receipt):
    return [moment.what for moment in receipt.history]


def test_an_unknown_id_has_no_receipt(gateway):
    assert receipts.find_receipt(gateway, "nothing") is None


def test_a_transaction_that_waits(gateway):
    call = factories.a_call(KEY, transaction_id='with "quotes"', elements={"gb": 2})
    accept_calls(gateway, [factories.a_call(KEY), call])

    receipt = receipts.find_receipt(gateway, 'with "quotes"')

    assert (receipt.state, receipt.elements) == (ReceiptState.WAITING, {"gb": 2})
    assert history(receipt) == ["Received from edge"]


def test_an_attributed_one(gateway, credential):
    call = factories.a_call(KEY, method="GET", status=200)
    factories.settled(call, gateway=gateway)

    receipt = receipts.find_receipt(gateway, call.transaction_id)

    assert receipt.state == ReceiptState.ATTRIBUTED
    assert (receipt.matched_by, receipt.hint) == ("key", KEY[-4:])
    assert (receipt.credential, receipt.customer) == (credential, credential.customer)
    assert receipt.assignment == credential.assignments.get()
    assert (receipt.method, receipt.status) == ("GET", 200)
    assert history(receipt) == ["Received from edge", "Attributed to Maps"]


def test_another_gateway_has_no_receipt_of_it(gateway, credential):
    call = factories.a_call(KEY)
    factories.settled(call, gateway=gateway)

    assert receipts.find_receipt(factories.a_gateway(), call.transaction_id) is None
    assert [
        each.gateway for each in receipts.find_receipts_of_all_gateways(call.transaction_id)
    ] == [gateway]


def test_a_quarantined_one_says_why(gateway):
    call = factories.a_call("a-key-nobody-knows")
    factories.settled(call, gateway=gateway)

    receipt = receipts.find_receipt(gateway, call.transaction_id)

    assert (receipt.state, receipt.reason) == (ReceiptState.QUARANTINED, "unknown_key")
    assert receipt.reason_text == "No credential has this key"
    assert history(receipt) == [
        "Received from edge",
        "Quarantined: No credential has this key",
    ]


def test_its_history_names_who_caused_what(gateway):
    admin = factories.a_user("admin@example.com")
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer, name="Maps")
    other = factories.a_subscription(customer, name="Tiles")
    call = factories.a_call(KEY, ago=DAY)
    factories.settled(call, gateway=gateway)
    actions.mark_reviewed(Quarantined.objects.all(), by=admin, note="a scanner")
    credential = credentials.issue_credential(
        customer=customer,
        name="Backend",
        by=admin,
        new_key=NewKey(key=KEY),
        subscriptions=[subscription],
    )
    reattribution.work_through_claims()
    credentials.move_credential(
        credential=credential,
        subscription=subscription,
        to=other,
        by=admin,
        at=timezone.now() - 2 * DAY,
    )
    reattribution.work_through_claims()

    receipt = receipts.find_receipt(gateway, call.transaction_id)

    assert receipt.subscription == other
    assert [(moment.what, moment.by) for moment in receipt.history] == [
        ("Received from edge", ""),
        ("Quarantined: No credential has this key", ""),
        ("Attributed to Maps, because credential “Backend” was issued", "admin@example.com"),
        (
            "Corrected: now Tiles, because “Backend” was moved from “Maps” to “Tiles”",
            "admin@example.com",
        ),
    ]


def test_every_row_of_a_corrected_transaction_leads_to_the_same_receipt(gateway, credential):
    factories.settled(factories.a_call(KEY, ago=timedelta(hours=1)), gateway=gateway)
    subscription = credential.assignments.get().subscription
    credentials.move_credential(
        credential=credential,
        subscription=subscription,
        to=factories.a_subscription(credential.customer),
        by=None,
        at=timezone.now() - DAY,
    )
    reattribution.work_through_claims()

    found = {receipts.receipt_of_row(row).id for row in Transaction.objects.all()}

    assert len(found) == 1


def test_a_conflict_is_shown(gateway, credential):
    call = factories.a_call(KEY, transaction_id="t", elements={"calls": 1})
    factories.settled(call, gateway=gateway)
    call.elements = {"calls": 2}
    factories.settled(call, gateway=gateway)

    receipt = receipts.find_receipt(gateway, "t")

    assert receipt.elements == {"calls": 1}
    assert [each.content["elements"] for each in receipt.conflicts] == [{"calls": 2}]
    assert "Sent again with another content; not counted" in history(receipt)
