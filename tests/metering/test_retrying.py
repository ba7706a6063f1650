"""Rejected items are kept without keys, and counted once they can be read."""

import json
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.api.authentication import forget_admissions
from metering.attribution.processing import process_waiting_deliveries
from metering.models import Conflict, GatewayToken, Quarantined, Rejection, Transaction
from metering.retrying import kept_items, read_again, retry_rejections
from revcred.models import AuditEvent
from tests import factories
from tests.confirming import confirm

pytestmark = pytest.mark.django_db

KEY = "the-callers-own-key-0001"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge", kind="kong")


@pytest.fixture
def post(client, gateway):
    _, token = GatewayToken.issue(gateway, name="tests", scopes=["transactions:post"])

    def post(path, body, content_type="application/json"):
        forget_admissions()
        data = body if isinstance(body, str) else json.dumps(body)
        headers = {"authorization": f"Bearer {token}"}
        return client.post(path, data, content_type=content_type, headers=headers)

    return post


@pytest.fixture
def credential():
    customer = factories.a_customer()
    return factories.a_credential(
        customer, key=KEY, subscriptions=[factories.a_subscription(customer)]
    )


def line(**fields):
    return json.dumps({"ts": timezone.now().isoformat(), "key": KEY, "path": "/a"} | fields)


def test_lines_are_counted_once_their_format_is_mended(post, gateway, credential):
    placed = [json.dumps({"file": "edge-1", "at": n, "line": line()}) for n in (0, 90)]
    body = "\n".join([*placed, line(id="own"), line()])
    assert post("/v1/lines", body, "text/plain").status_code == 400
    gateway.kind = "nginx"
    gateway.save()

    outcome = retry_rejections(gateway=gateway, by=None)
    process_waiting_deliveries()

    assert (len(outcome.accepted), len(outcome.rejected)) == (4, 0)
    assert not Rejection.objects.exists()
    assert set(Transaction.objects.values_list("credential", flat=True)) == {credential.pk}
    ids = set(Transaction.objects.values_list("transaction_id", flat=True))
    assert {"edge-1-0", "edge-1-90", "own"} < ids
    # The gateway sends them again, too.
    post("/v1/lines", body, "text/plain")
    process_waiting_deliveries()
    assert Transaction.objects.count() == 4


def test_a_line_without_an_id_is_no_conflict_if_it_comes_again(post, gateway, credential):
    body = line()
    post("/v1/lines", body, "text/plain")
    gateway.kind = "nginx"
    gateway.save()

    retry_rejections(gateway=gateway, by=None)
    process_waiting_deliveries()
    post("/v1/lines", body, "text/plain")
    process_waiting_deliveries()

    assert Transaction.objects.count() == 1
    assert not Conflict.objects.exists()


def test_calls_of_other_doors_are_counted_once_they_are_young_enough(post, gateway, credential):
    at = (timezone.now() - timedelta(days=100)).isoformat()
    post("/v1/transactions", {"transaction_id": "t", "occurred_at": at, "key": KEY})
    event = {"specversion": "1.0", "id": "e", "source": "s", "type": "c", "subject": KEY}
    post("/v1/events", event | {"time": at}, "application/cloudevents+json")
    before = read_again(kept_items(gateway), gateway, timezone.now())
    gateway.accepted_days = 120
    gateway.save()

    outcome = retry_rejections(gateway=gateway, code="too_old", by=None)
    process_waiting_deliveries()

    assert [told.code for _, told in before.rejected] == ["too_old", "too_old"]
    assert len(outcome.accepted) == 2
    found = {*Transaction.objects.all(), *Quarantined.objects.all()}
    assert {each.transaction_id for each in found} == {"t", "s/e"}


def test_what_still_cannot_be_read_keeps_its_new_reason(post, gateway):
    post("/v1/lines", line(ts="soon"), "text/plain")
    gateway.kind = "nginx"
    gateway.save()

    outcome = retry_rejections(gateway=gateway, by=None)

    assert not outcome.accepted
    kept = Rejection.objects.get()
    assert (kept.field, kept.code) == ("occurred_at", "invalid")


def test_an_id_that_was_removed_is_not_counted_again(post, gateway):
    post("/v1/lines", line(id="4d1c6a3b2f0011223344", uid="x"), "text/plain")
    gateway.line_format = "nginx"
    gateway.save()

    outcome = retry_rejections(gateway=gateway, by=None)

    assert [told.code for _, told in outcome.rejected] == ["id_removed"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/lines", f"no json but {KEY}"),
        ("/v1/lines", json.dumps({"foo": KEY, "request": {"headers": {"x": [KEY]}}})),
        ("/v1/lines", json.dumps({"file": "f", "at": 1, "line": f"GET /?k={KEY} {KEY}"})),
        ("/v1/transactions", {"transaction_id": KEY, "key": KEY, "metadata": {"a": KEY}}),
        ("/v1/transactions", [{"foo": KEY}]),
        ("/v1/events", {"specversion": "1.0", "id": "e", "subject": KEY, "data": {"k": KEY}}),
        ("/meter/v1/api/meter", {"application": KEY, "url": f"/{KEY}", "elements": "x"}),
    ],
)
def test_no_key_is_kept(post, path, body):
    post(path, body)

    assert KEY not in json.dumps(list(Rejection.objects.values()), default=str)


def test_prompts_are_not_kept(post):
    post("/meter/v2/ai/completions", {"inputTokenCount": -1, "prompt": "a secret wish"})

    assert Rejection.objects.get().item is None


def test_an_admin_tries_them_again(admin_client, post, gateway, credential):
    post("/v1/lines", line(id="own"), "text/plain")
    post("/v1/lines", "no json", "text/plain")
    gateway.kind = "nginx"
    gateway.save()
    page = admin_client.get(reverse("admin:revcred_gateway_change", args=[gateway.pk]))
    address = reverse("admin:revcred_gateway_retry-rejections", args=[gateway.pk])

    asked = admin_client.post(address, {"code": ""})
    confirm(admin_client, asked)
    process_waiting_deliveries()

    assert f"{address}?code=missing" in page.content.decode()
    assert "From now on, 1 call of them are counted. 1 item" in asked.content.decode()
    assert Transaction.objects.get().transaction_id == "own"
    event = AuditEvent.objects.filter(target_type="revcred.gateway").latest("pk")
    assert (event.details["retried"], event.details["accepted"]) == (2, 1)
