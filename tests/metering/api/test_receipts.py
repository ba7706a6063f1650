import json

import pytest

from metering.attribution.processing import process_waiting_deliveries
from tests import factories

pytestmark = pytest.mark.django_db


def test_a_receipt(client, token, post, call, gateway):
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, name="Maps", external_key="acme-maps")
    credential = factories.a_credential(
        customer, key="some-key-of-a-caller", subscriptions=[subscription]
    )
    post(call(transaction_id="a/b c"))
    process_waiting_deliveries()

    receipt = client.get("/v1/transactions/a%2Fb%20c", headers={"x-api-key": token}).json()

    assert receipt["state"] == "attributed"
    assert receipt["matched_by"] == "key"
    assert receipt["credential"] == {
        "id": credential.pk,
        "name": credential.name,
        "environment": "",
    }
    assert receipt["subscription"] == {"name": "Maps", "external_key": "acme-maps"}
    assert receipt["customer"] == {"name": "Acme", "external_key": "acme"}
    assert receipt["elements"] == {"calls": 1}
    assert [moment["what"] for moment in receipt["history"]] == [
        "Received from edge",
        "Attributed to Maps",
    ]


def test_a_receipt_by_an_id_of_two_lines(client, token, post, call):
    post(call(transaction_id="a\nb"))

    receipt = client.get("/v1/transactions/a%0Ab", headers={"x-api-key": token})

    assert receipt.json()["transaction_id"] == "a\nb"


def test_a_receipt_of_what_waits(client, token, post, call):
    post(call())

    receipt = client.get("/v1/transactions/t-1", headers={"x-api-key": token}).json()

    assert (receipt["state"], receipt["reason"], receipt["customer"]) == ("waiting", None, None)


def test_another_gateways_transaction_is_not_found(client, token):
    call = factories.a_call()
    factories.settled(call)

    response = client.get(f"/v1/transactions/{call.transaction_id}", headers={"x-api-key": token})

    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_quantities_keep_all_their_digits(client, token, post, call):
    post(call(elements={"euros": 123456789012345678}))
    post(b"[%s]" % _with_raw_quantity(call(transaction_id="t-2"), b"0.123456789"))

    texts = [
        client.get(f"/v1/transactions/{name}", headers={"x-api-key": token}).content
        for name in ("t-1", "t-2")
    ]

    assert b'"euros":123456789012345678' in texts[0]
    assert b'"euros":0.123456789' in texts[1]


def _with_raw_quantity(call, quantity):
    return json.dumps(call | {"elements": {"euros": "HERE"}}).encode().replace(b'"HERE"', quantity)
