"""Answers, errors, leniency and repeats, as Revenium's clients know them."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from metering.api.backlog import backlog
from metering.attribution.processing import process_waiting_deliveries
from metering.models import Conflict, Delivery, GatewayToken, IdempotentPost, Quarantined
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "ak_live_demo_9c2e"
EVENTS = "/meter/v2/events"
EVENT = {"transactionId": "t-1", "payload": {"requests": 1}, "subscriberCredential": KEY}
POSTS = [
    "/meter/v1/api/meter",
    "/meter/v1/api/event",
    "/meter/v2/events",
    "/meter/v2/apis/requests",
    "/meter/v2/apis/responses",
    "/meter/v2/ai/completions",
    "/meter/v2/ai/images",
    "/meter/v2/ai/audio",
    "/meter/v2/ai/video",
    "/meter/v2/tool/events",
]
STATUSES = {"/meter/v1/api/meter": 200}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("slash", ["", "/"])
def test_nothing_is_required(revenium, path, slash):
    answer = revenium(path + slash, {"somethingNew": {"a": [1]}})

    assert answer.status_code == STATUSES.get(path, 201), answer.content


@pytest.mark.parametrize("path", POSTS)
def test_every_answer_tells_of_the_limit(revenium, path, gateway):
    answer = revenium(path, {})

    assert answer["X-RateLimit-Limit"] == "50000"
    assert int(answer["X-RateLimit-Remaining"]) <= 50_000
    assert abs(int(answer["X-RateLimit-Reset"]) - timezone.now().timestamp()) < 3
    assert answer["X-RateLimit-Bucket"] == "metering"


@pytest.mark.parametrize("path", POSTS)
def test_a_bearer_token_is_as_good(client, token, path):
    headers = {"authorization": f"Bearer {token}"}
    answer = client.post(path, "{}", content_type="application/json", headers=headers)

    assert answer.status_code == STATUSES.get(path, 201)


@pytest.mark.parametrize("path", POSTS)
def test_an_unknown_token_gets_an_error_record(client, path):
    answer = client.post(
        path, "{}", content_type="application/json", headers={"x-api-key": "hak_nobody"}
    )

    said = answer.json()
    assert answer.status_code == 401
    assert said.pop("timestamp")
    assert said == {
        "status": 401,
        "error": "Unauthorized",
        "message": "This token is unknown or revoked.",
        "path": path,
        "details": {},
        "errors": [
            {
                "code": "unknown_token",
                "field": None,
                "message": "This token is unknown or revoked.",
            }
        ],
    }


def test_a_token_that_may_only_read(client, gateway):
    reader = GatewayToken.issue(gateway, name="", scopes=["receipts:read"])[1]
    answer = client.post(
        EVENTS, EVENT, content_type="application/json", headers={"x-api-key": reader}
    )

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/xml", "nonsense"])
def test_whatever_is_accepted_the_answer_is_json(revenium, accept):
    answer = revenium(EVENTS, EVENT, accept=accept)

    assert (answer.status_code, answer["Content-Type"]) == (201, "application/json")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (EVENTS, {"payload": {"a": -1}}, "a"),
        (EVENTS, {"payload": {"": 1}}, ""),
        (EVENTS, {"payload": {str(n): n for n in range(51)}}, None),
        (EVENTS, {"subscriberCredential": "x" * 4_097}, "subscriberCredential"),
        (EVENTS, {"transactionId": "a\0b"}, "transactionId"),
        (EVENTS, [EVENT], None),
        (EVENTS, "{", None),
        (EVENTS, "", None),
        (EVENTS, '"\\ud800"', None),
        (EVENTS, "[" * 5_000, None),
        ("/meter/v1/api/event", {"eventType": "OTHER"}, "eventType"),
        ("/meter/v1/api/event", {"currentMillis": "yesterday"}, "currentMillis"),
        ("/meter/v2/ai/completions", {"inputTokenCount": "many"}, "inputTokenCount"),
        ("/meter/v2/ai/completions", {"requestTime": "2026-02-30T00:00:00Z"}, "requestTime"),
        ("/meter/v2/tool/events", {"timestamp": []}, "timestamp"),
    ],
)
def test_what_cannot_be_taken_is_named(revenium, path, body, field):
    answer = revenium(path, body)

    assert answer.status_code == 400, answer.content
    said = answer.json()
    assert [each["field"] for each in said["errors"]] == [field]
    assert (field in said["details"]) == bool(field)
    assert not Delivery.objects.exists()


def test_numbers_come_as_text_and_dashes_are_nothing(revenium, credential, settled):
    revenium(
        "/meter/v1/api/meter",
        {
            "application": KEY,
            "method": "GET",
            "url": "https://api.example.com/maps/1?key=secret#top",
            "responseCode": "200",
            "requestMessageSize": "10",
            "responseMessageSize": "",
            "backendLatency": "-",
        },
    )

    (row,) = settled().values()
    assert (row.status, row.request_bytes, row.response_bytes) == (200, 10, None)
    assert (row.latency_ms, row.path) == (None, "/maps/1")


@pytest.mark.parametrize("name", ["application", "productKey"])
def test_without_a_credential_it_is_kept_and_charged_to_nobody(revenium, settled, name):
    assert revenium("/meter/v1/api/meter", {name: None, "method": "GET"}).status_code == 200

    (row,) = settled().values()
    assert row.reason == "anonymous"


def test_a_number_may_be_a_key(revenium, settled, subscription):
    credential = factories.a_credential(
        subscription.customer, "1234567890123", subscriptions=[subscription]
    )
    revenium("/meter/v1/api/meter", {"application": 1234567890123})

    (row,) = settled().values()
    assert row.credential == credential


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (lambda now: now - timedelta(days=1), None),
        (lambda now: now - timedelta(days=400), "moment_outside"),
        (lambda now: now + timedelta(days=2), "moment_outside"),
    ],
)
def test_a_moment_that_is_out_of_reach_waits_as_it_was_said(
    revenium, credential, settled, said, reason
):
    now = timezone.now()
    asked = said(now).isoformat()
    revenium(
        "/meter/v2/ai/completions",
        {
            "transactionId": "t",
            "requestTime": asked,
            "subscriber": {"credential": {"value": KEY}},
        },
    )

    row = settled()["t"]
    assert row.occurred_at == said(now)
    assert row.metadata["requestTime"] == asked
    assert getattr(row, "reason", None) == reason


def test_who_sends_too_much_is_told_when_to_come_again(revenium, gateway, settings):
    settings.MAX_BACKLOG_PER_GATEWAY = 1
    backlog.reset()
    answers = [revenium(EVENTS, EVENT) for _ in range(2)]
    backlog.reset()

    assert [each.status_code for each in answers] == [201, 429]
    assert answers[0]["X-RateLimit-Remaining"] == "0"
    assert answers[1]["Retry-After"] == "1"
    assert answers[1].json()["retryAfterSeconds"] == 1


# --- Idempotency keys ---------------------------------------------------------------------------


def test_the_same_under_the_same_key_has_the_same_answer(revenium):
    answers = [revenium(EVENTS, EVENT, idempotency_key="k 1") for _ in range(2)]

    assert [each.status_code for each in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert Delivery.objects.count() == 1


def test_without_an_id_the_key_is_one(revenium):
    body = {"toolId": "search", "durationMs": 1, "success": True}
    ids = [
        revenium("/meter/v2/tool/events", body, idempotency_key=key).json()["id"] for key in "aab"
    ]

    assert ids[0] == ids[1] != ids[2]


def test_another_body_under_the_same_key(revenium):
    revenium(EVENTS, EVENT, idempotency_key="k-1")
    answer = revenium(EVENTS, EVENT | {"payload": {"requests": 2}}, idempotency_key="k-1")

    assert answer.status_code == 409
    assert answer.json()["errors"][0]["code"] == "idempotency_key_mismatch"


def test_the_first_is_still_running(revenium):
    revenium(EVENTS, EVENT, idempotency_key="k-1")
    IdempotentPost.objects.update(status=None, answer=None)
    answer = revenium(EVENTS, EVENT, idempotency_key="k-1")

    assert (answer.status_code, answer["Retry-After"]) == (409, "1")
    assert answer.json()["errors"][0]["code"] == "idempotency_key_in_progress"


@pytest.mark.parametrize(
    "began", [{"status": None}, {"began_at": timezone.now() - timedelta(hours=25)}]
)
def test_what_was_begun_long_ago_is_begun_again(revenium, began):
    revenium(EVENTS, EVENT, idempotency_key="k-1")
    IdempotentPost.objects.update(**{"began_at": timezone.now() - timedelta(minutes=2)} | began)
    answer = revenium(EVENTS, EVENT | {"payload": {"requests": 2}}, idempotency_key="k-1")

    assert answer.status_code == 201


WITHOUT_ID = {
    "/meter/v1/api/meter": {"application": "a-key-of-nobody", "method": "GET"},
    "/meter/v1/api/event": {"application": "a-key-of-nobody", "method": "GET"},
    "/meter/v2/events": {"payload": {"tokens": 1}},
    "/meter/v2/apis/requests": {"credential": "a-key-of-nobody", "method": "GET"},
    "/meter/v2/apis/responses": {"responseCode": 200},
    "/meter/v2/ai/completions": {"inputTokenCount": 1},
    "/meter/v2/tool/events": {"toolId": "search"},
}


@pytest.mark.parametrize("path", WITHOUT_ID)
def test_a_key_that_is_used_again_after_its_day_makes_no_call_free(revenium, path):
    first = WITHOUT_ID[path]
    other = first | {"method": "POST", "payload": {"tokens": 2}, "responseCode": 500}
    other |= {"inputTokenCount": 2, "durationMs": 5}

    for body in (first, other, other):
        revenium(path, body, idempotency_key="k-1")
        IdempotentPost.objects.update(began_at=timezone.now() - timedelta(hours=25))
    process_waiting_deliveries()

    assert Quarantined.objects.count() == 2
    assert not Conflict.objects.exists()


def test_what_was_refused_may_be_mended(revenium):
    bad = revenium(EVENTS, {"payload": {"a": -1}}, idempotency_key="k-1")
    good = revenium(EVENTS, EVENT, idempotency_key="k-1")

    assert (bad.status_code, good.status_code) == (400, 201)


def test_keys_of_other_gateways_are_others(revenium, client):
    other = GatewayToken.issue(factories.a_gateway(), name="", scopes=["transactions:post"])[1]
    revenium(EVENTS, EVENT, idempotency_key="k-1")
    answer = revenium(EVENTS, {"payload": {"b": 2}}, x_api_key=other, idempotency_key="k-1")

    assert answer.status_code == 201


@pytest.mark.parametrize("key", ["", "ü", "x" * 256, "a\tb"])
def test_a_malformed_key(revenium, key):
    answer = revenium(EVENTS, EVENT, idempotency_key=key)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "invalid_idempotency_key"


@pytest.mark.parametrize("body", [None, {}])
def test_nothing_is_found_in_their_manner(revenium, body):
    answer = revenium("/meter/v2/nope", body)

    assert (answer.status_code, answer.json()["path"]) == (404, "/meter/v2/nope")


# --- Questions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/sdk/resolve-key", "/meter/v2/sdk/resolve-key"])
def test_a_good_token_resolves(revenium, client, path):
    assert revenium(path).status_code == 200
    assert client.get(path, headers={"x-api-key": "hak_nobody"}).status_code == 401


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("application=ak_live_demo_9c2e", 200),
        ("productKey=sub-key-1", 200),
        ("application=ak_live_demo_9c2e&productKey=sub-key-1", 200),
        ("productKey=bad", 404),
        ("application=bad", 404),
        ("application=ak_live_demo_9c2e&productKey=bad", 404),
        ("", 404),
        ("application=" + "x" * 4_097, 400),
        ("application=%00", 400),
        ("productKey=%00", 400),
    ],
)
def test_whether_a_key_or_subscription_is_good(revenium, credential, query, status):
    answer = revenium(f"/meter/v1/api/meter/product-key?{query}")

    assert answer.status_code == status, answer.content
    assert json.loads(answer.content).get("status", 200) == status
