from datetime import timedelta

from django.urls import reverse
from django.utils import timezone

from metering.models import GatewayToken, Transaction
from metering.quarantine import reattribution
from revcred.actions import credentials
from tests import factories

KEY = "a-key-that-ends-in-W1x2"


def text_of(answer):
    return " ".join(answer.content.decode().split())


def receipt_url(transaction):
    return reverse("storefront:transaction", args=[transaction.pk])


def test_a_receipt_says_what_was_counted_and_why(customer, owner, sign_in):
    subscription = factories.a_subscription(customer, name="Maps")
    factories.a_credential(customer, key=KEY, name="checkout", subscriptions=[subscription])
    call = factories.a_call(
        KEY,
        transaction_id="call-4711",
        method="GET",
        path="/v2/reverse",
        status=200,
        latency_ms=12.5,
        elements={"calls": 1, "tokens": 1234},
        metadata={"region": "eu"},
    )
    factories.settled(call, gateway=factories.a_gateway("edge-1"))

    page = text_of(sign_in(owner).get(receipt_url(Transaction.objects.get())))

    for said in (
        "call-4711",
        "GET /v2/reverse",
        "12.5 ms",
        "1,234",
        "Maps",
        "checkout",
        "…W1x2",
        "eu",
        "Received from edge-1",
        "Attributed to Maps",
    ):
        assert said in page


def test_what_waited_in_quarantine_says_so_but_not_who_let_it_out(customer, owner, sign_in):
    admin = factories.a_user("admin@provider.example", is_staff=True)
    subscription = factories.a_subscription(customer, name="Maps")
    factories.settled(factories.a_call(KEY, ago=timedelta(minutes=1)))
    credentials.issue_credential(
        customer=customer,
        name="checkout",
        by=admin,
        new_key=credentials.NewKey(key=KEY),
        subscriptions=[subscription],
    )
    reattribution.work_through_claims()

    page = text_of(sign_in(owner).get(receipt_url(Transaction.objects.get())))

    assert "Quarantined: No credential has this key" in page
    assert "Attributed to Maps" in page
    assert "admin@provider.example" not in page


def test_after_a_correction_it_is_only_for_whom_it_is_now(customer, owner, sign_in):
    member = factories.a_subscriber(customer)
    first, second = (factories.a_subscription(customer, name=name) for name in ("First", "Second"))
    credential = factories.a_credential(customer, key=KEY, subscriptions=[first], holders=[member])
    factories.settled(factories.a_call(KEY, ago=timedelta(minutes=5)))
    counted = Transaction.objects.get()
    credentials.move_credential(
        credential=credential,
        subscription=first,
        to=second,
        by=None,
        at=timezone.now() - timedelta(hours=1),
    )
    reattribution.work_through_claims()

    page = text_of(sign_in(member).get(receipt_url(counted)))

    assert Transaction.objects.count() == 3
    assert "Corrected: now Second" in page
    assert "First" not in page


def test_the_api_the_administration_and_the_storefront_say_the_same(
    customer, owner, sign_in, client, admin_client
):
    subscription = factories.a_subscription(customer, name="Maps")
    factories.a_credential(customer, key=KEY, subscriptions=[subscription])
    gateway = factories.a_gateway("edge-1")
    token = GatewayToken.issue(gateway, name="", scopes=["receipts:read"])[1]
    factories.settled(factories.a_call(KEY, transaction_id="call-1"), gateway=gateway)
    row = Transaction.objects.get()

    answer = client.get("/v1/transactions/call-1", headers={"authorization": f"Bearer {token}"})
    sentences = [entry["what"] for entry in answer.json()["history"]]

    assert sentences == ["Received from edge-1", "Attributed to Maps"]
    by_admin = admin_client.get(reverse("admin:metering_transaction_change", args=[row.pk]))
    for page in (text_of(sign_in(owner).get(receipt_url(row))), text_of(by_admin)):
        assert [sentence for sentence in sentences if sentence not in page] == []
