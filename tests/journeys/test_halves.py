"""Two halves that are posted to the web arrive as one transaction, joined by the worker."""

import pytest

REQUEST = "/meter/v2/apis/requests", {"method": "GET", "resource": "/maps/1"}
RESPONSE = "/meter/v2/apis/responses", {"responseCode": 200, "totalDuration": 12}


@pytest.mark.parametrize("halves", [(REQUEST, RESPONSE), (RESPONSE, REQUEST)])
def test_halves_are_joined(stack, halves):
    name = f"halves-{halves[0][0]}".replace("/", "-")
    key = {"credential": "the-key-of-the-journey"}
    (first, said), (second, said_then) = halves

    assert stack.ask(first, said | key | {"transactionId": name}).status == 201
    waiting = stack.ask(f"/v1/transactions/{name}").body
    assert (waiting["state"], len(waiting["history"])) == ("waiting", 2)
    assert stack.ask(second, said_then | key | {"transactionId": name}).status == 201
    stack.seconds_until_attributed(name)

    receipt = stack.ask(f"/v1/transactions/{name}").body
    assert (receipt["path"], receipt["status"], receipt["latency_ms"]) == ("/maps/1", 200, 12)
