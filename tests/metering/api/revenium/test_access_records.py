"""A gateway's log of calls that comes over OTLP is read as `/v1/lines` reads the same lines."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from msgspec.structs import replace

from metering.api.dialects import GatewayPost
from metering.api.line_formats.choosing import built_in_format
from metering.api.revenium.access_records import AccessRecordReader
from metering.api.revenium.log_records import LOGS, decode_records
from metering.attribution.processing import process_waiting_deliveries
from metering.models import Conflict, Quarantined, Rejection, Transaction
from tests import canaries, factories
from tests.metering.api.line_formats.conftest import calls_in
from tests.metering.api.line_formats.test_built_in import CASES, NOON
from tests.metering.api.revenium.logs import PATH, logs, record

pytestmark = pytest.mark.django_db

KEY = "rck-of-the-caller-0001"
SAMPLES = [(name, line) for name, (lines, _) in CASES.items() for line in lines]
# Those whose members are the record itself, and do not hold it.
OBJECTS = [
    (name, line)
    for name, line in SAMPLES
    if line[:1] == "{" and not {"event", "records", "logEvents"} & json.loads(line).keys()
]
# What a collector that tails a file adds: it is where the line was read, and not what it says.
OF_THE_COLLECTOR = {"log.file.name": "access.log", "log.file.path": "/var/log/access.log"}


def any_value(said):
    """Return a value of JSON as OTLP wraps it."""
    if isinstance(said, dict):
        pairs = [{"key": name, "value": any_value(each)} for name, each in said.items()]
        return {"kvlistValue": {"values": pairs}}
    if isinstance(said, list):
        return {"arrayValue": {"values": [any_value(each) for each in said]}}
    if isinstance(said, bool) or said is None:
        return {"boolValue": said} if said is not None else {}
    if isinstance(said, int):
        return {"intValue": str(said)}
    return {"doubleValue": said} if isinstance(said, float) else {"stringValue": said}


def read_as_otlp(name, log_record):
    """Return the calls that the format of this name finds in a record, or None if it reads none."""
    gateway = factories.a_gateway(line_format=name)
    now = NOON + timedelta(hours=1)
    post = GatewayPost(gateway=gateway, path=PATH, headers={}, body=b"", now=now, token="")
    (parsed,) = decode_records(json.dumps(logs(log_record)).encode(), LOGS, protobuf=False)
    reader = AccessRecordReader(post)
    return reader.lines.calls if reader.read(0, parsed) else None


@pytest.mark.parametrize(("name", "line"), SAMPLES)
def test_a_line_in_a_body_is_the_same_call_as_at_the_door_of_lines(name, line):
    found = read_as_otlp(name, record(OF_THE_COLLECTOR, body=line + "\n"))

    assert found == calls_in(built_in_format(name), line)


@pytest.mark.parametrize(("name", "line"), OBJECTS)
def test_attributes_are_the_members_of_a_line(name, line):
    members = json.loads(line).items()
    attributes = [{"key": key, "value": any_value(value)} for key, value in members]
    found = read_as_otlp(name, record({}) | {"attributes": attributes})

    (expected,) = calls_in(built_in_format(name), line)
    (call,) = found
    if expected.transaction_id.startswith("line-"):
        expected = replace(expected, transaction_id=call.transaction_id)
    assert call == replace(expected, content=call.content)


@pytest.fixture
def gateway():
    return factories.a_gateway("edge", kind="traefik")


@pytest.fixture
def send(client, token):
    def send(*records):
        body = json.dumps(logs(*records, resource={"service.name": "traefik"}))
        headers = {"x-api-key": token}
        return client.post(PATH, body, content_type="application/json", headers=headers).json()

    return send


def time_ns(**ago):
    return int((timezone.now() - timedelta(**ago)).timestamp() * 1e6) * 1_000


def traefik_record(at, path="/maps/1", **more):
    """Return a record as Traefik sends it: the moment as nanoseconds, the line as its body."""
    attributes = {
        "ClientPort": "59550",
        "DownstreamStatus": 200,
        "Duration": 723_849,
        "RequestMethod": "GET",
        "RequestPath": path,
        "RouterName": "maps@file",
        "StartUTC": at,
        "request_X-Api-Key": KEY,
    } | more
    return record(attributes, body=f"GET {path} {KEY}", at=at)


def test_what_traefik_sends_is_counted_once_and_no_key_is_kept(send):
    subscription = factories.a_subscription()
    credential = factories.a_credential(
        subscription.customer, key=KEY, subscriptions=[subscription]
    )
    sent = [traefik_record(time_ns(seconds=n)) for n in range(3)]
    own_log = record({"level": "info", "entryPointName": "web"}, body="Starting provider")

    first, again = send(*sent, own_log), send(*sent)
    process_waiting_deliveries()

    assert (first["processedEvents"], first["passedOver"]) == (3, 1)
    assert again["processedEvents"] == 3
    rows = Transaction.objects.all()
    assert [(row.credential, row.path, row.status, row.method) for row in rows] == 3 * [
        (credential, "/maps/1", 200, "GET")
    ]
    assert {row.latency_ms for row in rows} == {0.723849}
    assert all(row.elements == {"calls": 1} for row in rows)
    assert not Conflict.objects.exists()
    assert canaries.lines_with(canaries.everything(), {KEY}) == []


def test_a_record_that_its_format_rejects_is_told_with_its_place(send):
    good, late = traefik_record(time_ns()), traefik_record(time_ns(days=400))

    answer = send(record({}, body="of no call"), late, good)

    assert (answer["processedEvents"], answer["passedOver"]) == (1, 1)
    assert answer["partialSuccess"]["rejectedLogRecords"] == "1"
    assert "Record 1: occurred_at" in answer["partialSuccess"]["errorMessage"]
    assert Rejection.objects.get().code == "too_old"


def test_what_names_itself_a_call_in_otlps_terms_is_read_by_them(send):
    send(traefik_record(time_ns(), **{"transaction.id": "t-1", "subscriber.credential": KEY}))
    process_waiting_deliveries()

    assert Quarantined.objects.get().transaction_id == "t-1"


def test_without_a_format_of_its_own_nothing_is_taken_for_a_line(send, gateway):
    gateway.kind = "other"
    gateway.save()

    assert send(traefik_record(time_ns()))["passedOver"] == 1
