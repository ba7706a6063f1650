"""Requests as the published clients sent them, and what became of them."""

from decimal import Decimal

import pytest
from django.utils import timezone

from metering.api.revenium import repeats
from metering.models import Transaction

KEY = "ak_live_demo_9c2e"
NOW = timezone.now().isoformat()
MILLISECONDS = int(timezone.now().timestamp() * 1000)

pytestmark = pytest.mark.django_db

COMPLETION = {
    "completionStartTime": "2025-03-02T15:04:05Z",
    "costType": "AI",
    "inputTokenCount": 50,
    "isStreamed": False,
    "model": "gpt-4o-mini",
    "outputTokenCount": 150,
    "provider": "OpenAI",
    "requestDuration": 1000,
    "requestTime": NOW,
    "responseTime": "2025-03-02T15:04:06Z",
    "stopReason": "END",
    "totalTokenCount": 200,
    "transactionId": "22222222-2222-4222-8222-222222222222",
    "organizationName": "Acme",
    "subscriber": {
        "id": "ext-1",
        "email": "ada@acme.test",
        "credential": {"name": "Acme Production Key", "value": KEY},
    },
    "credentialAlias": "ignored-alias",
}
METERED = {
    "application": KEY,
    "method": "GET",
    "url": "/api/1",
    "metadata": "5",
    "backendLatency": 100,
    "gatewayLatency": 14,
    "responseCode": 200,
    "timedOut": False,
    "requestMessageSize": 1024,
    "responseMessageSize": 4096,
    "requestHeaders": ["accept"],
    "responseHeaders": ["content-type"],
    "remoteUser": "ada@acme.test",
    "remoteHost": "203.0.113.9",
    "httpProtocol": "https",
    "contentType": "application/json",
    "correlationId": "c-1",
}
EVENT = {
    "payload": {"requests": 1, "tokens": "42"},
    "sourceType": "SDK_PYTHON",
    "transactionId": "11111111-1111-4111-8111-111111111111",
    "sourceId": "src001",
    "subscriberCredential": KEY,
}


def test_a_finished_call_of_v1(revenium, credential, settled):
    answer = revenium("/meter/v1/api/meter", METERED)

    (row,) = settled().values()
    assert (answer.status_code, answer.json()) == (200, {})
    assert row.credential == credential
    assert (row.method, row.path, row.status) == ("GET", "/api/1", 200)
    assert (row.request_bytes, row.response_bytes, row.latency_ms) == (1024, 4096, 114)
    assert row.elements == {"calls": 1}
    assert row.metadata == {
        "metadata": "5",
        "timedOut": False,
        "remoteUser": "ada@acme.test",
        "remoteHost": "203.0.113.9",
        "httpProtocol": "https",
        "contentType": "application/json",
        "correlationId": "c-1",
    }


def test_a_finished_call_of_v1_that_names_a_subscription(revenium, subscription, settled):
    revenium(
        "/meter/v1/api/meter",
        {
            "api": "src001",
            "productKey": "sub-key-1",
            "method": "POST",
            "url": "/api/2",
            "responseCode": 201,
            "requestHeaders": [],
            "responseHeaders": [],
        },
    )

    (row,) = settled().values()
    assert (row.subscription, row.credential) == (subscription, None)
    assert row.source_named == "src001"


def test_elements_of_v1(revenium, credential, settled):
    elements = [{"name": "hello", "value": "world"}, {"name": "megabytes", "value": "1.5"}]
    revenium("/meter/v1/api/meter", METERED | {"elements": elements, "metadata": None})

    (row,) = settled().values()
    assert row.elements == {"calls": 1, "megabytes": 1.5}
    assert row.metadata["hello"] == "world"


def test_an_event(revenium, credential, settled):
    answer = revenium("/meter/v2/events", EVENT)

    row = settled()[EVENT["transactionId"]]
    record = answer.json()
    assert answer.status_code == 201
    assert record.pop("signature")
    assert record.pop("created") == record.pop("updated")
    assert record == {
        "id": EVENT["transactionId"],
        "label": f"metering {EVENT['transactionId']}",
        "resourceType": "metering",
        "_links": {},
    }
    assert row.credential == credential
    assert row.elements == {"requests": 1, "tokens": 42}
    assert (row.source_named, row.metadata) == ("src001", {"sourceType": "SDK_PYTHON"})


def test_a_repeat_is_answered_with_the_first_record(revenium, credential, settled):
    first = revenium("/meter/v2/events", EVENT)
    settled()
    repeat = revenium("/meter/v2/events", EVENT)
    other = revenium("/meter/v2/events", EVENT | {"payload": {"requests": 7}})

    assert [each.status_code for each in (first, repeat, other)] == [201, 201, 201]
    assert first.json() == repeat.json() == other.json()
    assert len(settled()) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/meter/v2/events", EVENT),
        ("/meter/v2/apis/requests", {"transactionId": "t", "credential": KEY}),
        ("/meter/v2/ai/completions", {"transactionId": "t", "requestTime": NOW}),
    ],
)
def test_a_repeat_at_another_process_has_the_first_record(revenium, settled, settings, path, body):
    settings.PAIRING_TIMEOUT_SECONDS = 0
    first = revenium(path, body)
    settled()
    repeats._recent_moments.clear()
    later = revenium(path, body)

    assert first.json() == later.json()
    assert len(settled()) == 1


def test_a_model_s_answer(revenium, credential, settled):
    answer = revenium("/meter/v2/ai/completions", COMPLETION)

    row = settled()[COMPLETION["transactionId"]]
    assert answer.status_code == 201
    assert row.credential == credential
    assert row.elements == {
        "calls": 1,
        "inputTokenCount": 50,
        "outputTokenCount": 150,
        "totalTokenCount": 200,
    }
    assert row.latency_ms == 1000
    assert (row.metadata["model"], row.metadata["provider"]) == ("gpt-4o-mini", "OpenAI")
    assert Transaction.objects.count() == 1


def test_the_two_events_of_a_call_of_v1(revenium, credential, settled):
    asked = {
        "requestId": "r-1",
        "eventType": "REQUEST",
        "assetId": "src001",
        "application": KEY,
        "method": "GET",
        "currentMillis": MILLISECONDS,
        "uri": "/api/1",
    }
    answered = {
        "requestId": "r-1",
        "eventType": "RESPONSE",
        "currentMillis": MILLISECONDS + 100,
        "elapsedTime": 100,
        "responseCode": 200,
        "requestMessageSize": 1,
        "responseMessageSize": 2,
        "contentType": "application/json",
        "correlationId": "c-1",
        "backendLatency": 99.5,
    }
    answers = [revenium("/meter/v1/api/event", each) for each in (answered, asked)]

    row = settled()["r-1"]
    assert [(each.status_code, each.content) for each in answers] == [(201, b"")] * 2
    assert row.credential == credential
    assert (row.method, row.path, row.status) == ("GET", "/api/1", 200)
    assert (row.request_bytes, row.response_bytes, row.latency_ms) == (1, 2, 100)
    assert row.metadata == {"contentType": "application/json", "correlationId": "c-1"}


def test_a_request_and_its_response(revenium, credential, settled):
    asked = {
        "transactionId": "tx-1",
        "contentType": "application/json",
        "credential": KEY,
        "method": "GET",
        "remoteHost": "203.0.113.9",
        "requestMessageSize": 10,
        "resource": "/v1/orders",
        "sourceId": "src001",
        "sourceType": "KONG",
        "userAgent": "curl/8",
    }
    answered = {
        "responseCode": 200,
        "transactionId": "tx-1",
        "backendLatency": 12.5,
        "contentType": "application/json",
        "gatewayLatency": 1.5,
        "responseMessageSize": 99,
        "totalDuration": 14,
    }
    first = revenium("/meter/v2/apis/requests", asked)
    second = revenium("/meter/v2/apis/responses", answered)

    row = settled()["tx-1"]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert row.credential == credential
    assert (row.method, row.path, row.status, row.latency_ms) == ("GET", "/v1/orders", 200, 14)
    assert row.elements == {"calls": 1}
    assert row.metadata["sourceType"] == "KONG"


def test_a_tool_s_call(revenium, credential, settled):
    answer = revenium(
        "/meter/v2/tool/events",
        {
            "transactionId": "44444444-4444-4444-8444-444444444444",
            "toolId": "search",
            "durationMs": 120,
            "success": True,
            "timestamp": NOW,
            "costUsd": 0.0125,
            "subscriberCredential": KEY,
            "usageMetadata": {"pages": 3},
        },
    )

    (row,) = settled().values()
    assert answer.status_code == 201
    assert row.credential == credential
    assert row.elements == {"calls": 1, "costUsd": Decimal("0.0125")}
    assert row.latency_ms == 120
    assert row.metadata == {"toolId": "search", "success": True, "usageMetadata": {"pages": 3}}
