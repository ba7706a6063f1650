import gzip
import json
from datetime import timedelta

import pytest
from django.utils import timezone

from metering.api.line_formats import choosing
from metering.attribution.processing import process_waiting_deliveries
from metering.models import Delivery, IntakeStats, LineFormat, Quarantined, Rejection, Transaction
from tests import factories
from tests.metering.api.conftest import LoopClient

pytestmark = pytest.mark.django_db

KEY = "some-key-of-a-caller"


@pytest.fixture(autouse=True)
def _no_format_of_another_test():
    yield
    choosing.forget_own_formats()


@pytest.fixture
def gateway(db):
    return factories.a_gateway("edge", kind="nginx")


@pytest.fixture
def post(asked, token):
    """Post a body of lines as the gateway."""

    def post(body, content_type="application/x-ndjson", **headers):
        data = body if isinstance(body, bytes | str) else "\n".join(map(json.dumps, body))
        headers = {"authorization": f"Bearer {token}"} | headers
        response = asked.post("/v1/lines", data, content_type=content_type, headers=headers)
        response.json = lambda: json.loads(response.content)
        return response

    return post


def line(name="a", *, ago=0, **fields):
    at = timezone.now() - timedelta(seconds=ago)
    return {"id": name, "ts": f"{at.timestamp():.3f}", "key": KEY, "status": "200"} | fields


def placed(text, at=0):
    return {"file": "edge-1-5f0c1d", "at": at, "line": text}


def kept():
    return [
        each["transaction_id"] for row in Delivery.objects.all() for each in json.loads(row.body)
    ]


def test_lines_are_calls_of_their_keys_owner(post, gateway):
    customer = factories.a_customer()
    factories.a_credential(customer, key=KEY, subscriptions=[factories.a_subscription(customer)])

    response = post([line("a", path="/maps/1"), line("b")])
    process_waiting_deliveries()

    assert response.status_code == 202
    delivery = response.json().pop("delivery")
    assert delivery
    assert response.json() == {
        "delivery": delivery,
        "accepted": 2,
        "rejected": [],
        "ignored": 0,
    }
    first, second = Transaction.objects.order_by("transaction_id")
    assert (first.customer, first.path, first.status) == (customer, "/maps/1", 200)
    assert second.metadata == {"format": "nginx 1"}


def test_a_public_id_that_the_gateway_put_there_says_whose_a_call_is(post):
    customer = factories.a_customer()
    credential = factories.a_credential(
        customer, key=KEY, subscriptions=[factories.a_subscription(customer)]
    )
    credential.refresh_from_db()

    post([line(key="", credential=credential.public_id), line("b", key=credential.public_id)])
    process_waiting_deliveries()

    assert Transaction.objects.get().credential == credential
    assert Quarantined.objects.get().reason == "unknown_key"


def test_a_line_that_is_sent_again_is_counted_once(post):
    lines = [placed(json.dumps({**line(), "id": ""}), at) for at in (0, 80)]

    for _ in range(2):
        post(lines)
        process_waiting_deliveries()

    assert set(Quarantined.objects.values_list("transaction_id", flat=True)) == {
        "edge-1-5f0c1d-0",
        "edge-1-5f0c1d-80",
    }
    stats = IntakeStats.objects.get()
    assert (stats.repeated, stats.conflicting) == (2, 0)


def test_one_bad_line_spoils_no_other(post):
    response = post("\n".join([json.dumps(line("a")), "no json", json.dumps(line("b", ts="soon"))]))

    assert response.status_code == 202
    assert response.json()["accepted"] == 1
    first, second = response.json()["rejected"]
    assert first.pop("transaction_id").startswith("line-")
    assert [first, second] == [
        {
            "index": 1,
            "field": None,
            "code": "malformed",
            "message": "It is not JSON, as this format expects.",
        },
        {
            "index": 2,
            "transaction_id": "b",
            "field": "occurred_at",
            "code": "invalid",
            "message": "It is no moment that this format reads.",
        },
    ]
    assert Rejection.objects.count() == 2


def test_if_every_line_is_rejected_the_sender_hears_of_it(post):
    response = post("nothing\nof this\nis JSON\n", "text/plain")

    assert response.status_code == 400
    assert (response.json()["code"], response.json()["accepted"]) == ("malformed", 0)
    assert kept() == []


def test_lines_that_are_no_calls_are_ignored(post):
    response = post(f"# a comment\n{json.dumps(line())}\n")

    assert response.status_code == 202
    assert (response.json()["accepted"], response.json()["ignored"]) == (1, 1)


def test_comments_alone_are_no_error(post):
    assert post("# Version: 1.0\n", "text/plain").status_code == 202


def test_an_array_as_kong_posts_it(post, gateway):
    gateway.kind = "kong"
    gateway.save()
    record = {
        "request": {"id": "4d1c", "uri": "/maps/1", "method": "GET", "headers": {"apikey": KEY}},
        "response": {"status": 200},
        "started_at": int(timezone.now().timestamp() * 1000),
    }

    response = post(json.dumps([record, record | {"started_at": None}]), "application/json")

    assert response.status_code == 202
    assert [each["index"] for each in response.json()["rejected"]] == [1]
    assert kept() == ["4d1c"]


def test_compressed(post):
    body = gzip.compress(json.dumps(line()).encode())

    assert post(body, content_encoding="gzip").status_code == 202
    assert kept() == ["a"]


def test_another_format_can_be_chosen(post, gateway):
    gateway.line_format = "combined"
    gateway.save()
    moment = f"{timezone.now():%d/%b/%Y:%H:%M:%S +0000}"

    post(f'10.0.0.1 - - [{moment}] "GET /a HTTP/1.1" 200 5 "-" "curl" "{KEY}"', "text/plain")

    (row,) = Delivery.objects.all()
    assert json.loads(row.body)[0]["path"] == "/a"


def test_a_format_of_an_admins_own_reads_lines(post, gateway):
    gateway.line_format = "own"
    gateway.save()
    for version, name in enumerate(("at", "when"), 1):
        LineFormat.objects.create(
            name="own", version=version, definition={"occurred_at": [name], "key": ["who"]}
        )

    response = post([{"when": timezone.now().isoformat(), "who": KEY}])

    assert response.status_code == 202
    (stored,) = json.loads(Delivery.objects.get().body)
    assert stored["metadata"] == {"format": "own 2"}


def test_a_format_that_is_gone_is_said(post, gateway):
    gateway.line_format = "gone"
    gateway.save()

    response = post([line()])

    assert (response.status_code, response.json()["code"]) == (400, "unknown_format")


def test_the_key_stops_at_the_door(post):
    post([line(path=f"/of/{KEY}", host=KEY), line("b", credential="acme-app", host=KEY)])
    post(json.dumps(line(KEY, ts="soon", status=KEY)))

    assert not any(KEY in row.body for row in Delivery.objects.all())
    stored = json.dumps(list(Rejection.objects.values()), default=str)
    assert KEY not in stored


def test_too_many_records_are_sent_in_parts(post, gateway):
    gateway.kind = "azure"
    gateway.save()
    body = json.dumps({"records": [{"time": "x"}] * 501})

    assert post(f"{body}\n{body}\n").status_code == 413
    assert kept() == []


def test_ids_of_callers_are_told_apart_where_the_format_says_so(post, gateway):
    gateway.kind = "other"
    gateway.save()

    post([line("same", ago=1, path="/a"), line("same", ago=2, path="/a")])
    process_waiting_deliveries()

    assert Quarantined.objects.count() == 2


def test_both_servers_answer_alike(client, token, monkeypatch):
    monkeypatch.setattr("metering.api.event_loop_doors.close_old_connections", lambda: None)
    answers = [
        server.post(
            "/v1/lines",
            "no json",
            content_type="text/plain",
            headers={"authorization": f"Bearer {token}"},
        )
        for server in (client, LoopClient())
    ]

    first, second = [
        {name: value for name, value in json.loads(each.content).items() if name != "delivery"}
        for each in answers
    ]
    assert first == second


def test_what_is_stored_names_the_format_and_its_version(post):
    post([line()])

    (stored,) = json.loads(Delivery.objects.get().body)
    assert stored["metadata"] == {"format": "nginx 1"}
