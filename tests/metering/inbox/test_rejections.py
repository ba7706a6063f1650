"""Rejected items are recorded with their reason, shown to their sender, and bounded in number."""

import json
from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.urls import reverse
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox import rejections
from metering.inbox.rejections import ItemRejection, RejectedItem
from metering.models import GatewayToken, IntakeStats, Rejection
from tests import factories
from tests.metering.api.conftest import LoopClient

pytestmark = pytest.mark.django_db

OTHER = "the-key-of-somebody-0001"
CANARY = "rck_canary0123456789abcdefABCDEF"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge")


@pytest.fixture
def token(gateway):
    scopes = ["transactions:post", "receipts:read"]
    return GatewayToken.issue(gateway, name="tests", scopes=scopes)[1]


@pytest.fixture(params=["django", "loop"])
def post(request, client, token, monkeypatch):
    monkeypatch.setattr("metering.api.event_loop_doors.close_old_connections", lambda: None)
    asked = client if request.param == "django" else LoopClient()

    def post(body):
        said = body if isinstance(body, bytes) else json.dumps(body)
        return asked.post(
            "/v1/transactions",
            said,
            content_type="application/json",
            headers={"x-api-key": token},
        )

    return post


def call(**fields):
    said = {"transaction_id": "t", "occurred_at": timezone.now().isoformat(), "key": "some-key-1"}
    return said | fields


def test_a_post_rejected_as_a_whole_is_not_202(post):
    ahead = (timezone.now() + timedelta(hours=2)).isoformat()

    response = post([call(occurred_at=ahead)])

    said = json.loads(response.content)
    assert (response.status_code, said["accepted"], said["code"]) == (400, 0, "too_new")
    assert said["message"] == "occurred_at: It is more than 60 minutes ahead."


def test_a_log_of_another_gateway_is_not_202(post):
    kong = {"request": {"uri": "/"}, "response": {"status": 200}, "started_at": 1_700_000_000_000}

    assert post([kong, kong]).status_code == 400
    assert [each.code for each in Rejection.objects.all()] == ["unknown_field"] * 2


def test_a_post_rejected_in_part_is_202_and_recorded(post, gateway):
    assert post([call(), call(transaction_id="bad", elements={"a": -1})]).status_code == 202

    (kept,) = Rejection.objects.all()
    assert (kept.gateway, kept.place, kept.transaction_id) == (gateway, 1, "bad")
    assert (kept.field, kept.code, kept.door) == ("elements.a", "out_of_range", "/v1/transactions")
    process_waiting_deliveries()
    assert IntakeStats.objects.get().rejected == 1


def test_a_body_without_json_is_recorded_as_one_rejection(post):
    assert post(b"{").status_code == 400

    (kept,) = Rejection.objects.all()
    assert (kept.place, kept.code) == (None, "malformed")
    assert IntakeStats.objects.get().rejected == 1


def test_the_receipt_of_a_rejected_id_says_why(post, client, token):
    post([call(transaction_id="bad", elements={"a": -1})])

    response = client.get("/v1/transactions/bad", headers={"x-api-key": token})

    said = response.json()
    assert response.status_code == 200
    assert (said["state"], said["reason"], said["field"]) == (
        "rejected",
        "out_of_range",
        "elements.a",
    )


def test_a_corrected_resend_has_a_receipt(post, client, token):
    post([call(elements={"a": -1})])
    post([call(elements={"a": 1})])

    said = client.get("/v1/transactions/t", headers={"x-api-key": token}).json()

    assert said["state"] == "waiting"


def test_another_gateway_is_not_told(post, client):
    post([call(elements={"a": -1})])
    other = GatewayToken.issue(factories.a_gateway(), name="", scopes=["receipts:read"])[1]

    assert client.get("/v1/transactions/t", headers={"x-api-key": other}).status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"transaction_id": CANARY, "elements": {"a": -1}},
        {"transaction_id": f"call-{CANARY}", "key": CANARY, "elements": {"a": -1}},
        {"elements": {CANARY: -1}},
        {"elements": {CANARY: "x"}},
        {CANARY: 1},
        {"key": OTHER, "transaction_id": OTHER, "source": ""},
        {"key": OTHER, "transaction_id": f"call-{OTHER}", "elements": {OTHER: -1}},
        {"key": OTHER, OTHER: 1},
    ],
)
def test_no_key_is_stored(post, fields):
    post([call(**fields)])

    (kept,) = Rejection.objects.all()
    said = f"{kept.transaction_id} {kept.field} {kept.message}"
    assert CANARY not in said
    assert OTHER not in said


def rejected(message, index=None):
    return RejectedItem(
        ItemRejection(index=index, transaction_id=None, field=None, code="x", message=message)
    )


def test_the_latest_thousand_of_a_gateway_are_kept(gateway):
    other = factories.a_gateway()
    rejections.record_rejections(other.pk, "/v1/transactions", [rejected("of another")])
    for start in range(0, 1_300, 100):
        some = [rejected(str(start + n), n) for n in range(100)]
        rejections.record_rejections(gateway.pk, "/v1/transactions", some)

    kept = Rejection.objects.filter(gateway=gateway).order_by("pk")
    assert kept.count() == 1_000
    assert (kept.first().message, kept.last().message) == ("300", "1299")
    assert Rejection.objects.filter(gateway=other).count() == 1


def test_of_one_post_a_hundred_are_kept(gateway):
    many = [rejected("m", n) for n in range(1_000)]
    rejections.record_rejections(gateway.pk, "/v1/transactions", many)

    assert Rejection.objects.count() == 100


def test_good_calls_write_none(post, monkeypatch):
    monkeypatch.setattr(rejections, "INSERT_REJECTIONS", "no statement")

    assert post([call()]).status_code == 202


def test_the_answer_is_the_same_if_rejections_cannot_be_recorded(post, monkeypatch):
    class Away:
        def cursor(self):
            raise DatabaseError

    monkeypatch.setattr(rejections, "connection", Away())

    assert post([call(), call(source="")]).status_code == 202


def test_reasons_stand_at_the_gateway_and_on_the_overview(post, admin_client, gateway):
    post([call(elements={"a": -1}), call(elements={"a": -1}), call(source="")])
    process_waiting_deliveries()

    page = admin_client.get(reverse("admin:revcred_gateway_change", args=[gateway.pk]))
    reasons = {(each["field"], each["items"]) for each in page.context["reasons"]}
    assert reasons == {("elements.a", 2), ("source", 1)}
    assert "A quantity is zero or more" in page.content.decode()
    overview = admin_client.get(reverse("admin:index")).content.decode()
    assert reverse("admin:metering_rejection_changelist") in overview
    assert reverse("admin:metering_conflict_changelist") in overview
    listed = admin_client.get(
        reverse("admin:metering_rejection_changelist") + f"?gateway={gateway.pk}"
    )
    assert listed.context["cl"].result_count == 3
