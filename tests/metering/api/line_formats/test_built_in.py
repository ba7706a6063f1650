"""Each built-in format, with lines as its gateway writes them."""

import json
import time
from datetime import UTC, datetime

import pytest

from metering.api.decoding import ItemRejected
from metering.api.line_formats.built_in import BUILT_IN_BY_KIND, BUILT_IN_FORMATS
from metering.api.line_formats.choosing import built_in_format
from metering.api.line_formats.definition import check_definition
from metering.inbox.redaction import CallerKey
from revcred.models import Gateway
from tests.metering.api.line_formats.conftest import calls_in

pytestmark = pytest.mark.django_db  # asked whether a key is also a customer's name

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
KEY = CallerKey("rck-of-the-caller-0001")
ALIAS = CallerKey("acme-app")
PUBLIC_ID = "cred_0123456789abcdef0123456789abcdef"


def noon(microsecond=0):
    return NOON.replace(microsecond=microsecond)


KONG = {
    "request": {
        "id": "4d1c6a3b2f",
        "uri": "/maps/1?x=1",
        "method": "GET",
        "size": 312,
        "headers": {"host": "edge", "x-api-key": KEY.text},
    },
    "response": {"status": 200, "size": 1512, "headers": {}},
    "latencies": {"request": 12, "kong": 1, "proxy": 7},
    "started_at": 1794830400123,
    "consumer": {"id": "b2", "username": "acme", "custom_id": "acme-app"},
    "route": {"name": "maps"},
    "service": {"name": "maps-service"},
}
APISIX = {
    "request": {"method": "GET", "uri": "/maps/1", "size": 90, "headers": {"x-request-id": "r-1"}},
    "response": {"status": 200, "size": 240, "headers": {"x-request-id": "r-1"}},
    "start_time": 1794830400123,
    "latency": 5.5,
    "consumer": {"username": "acme-app"},
    "route_id": "7",
}
CADDY = {
    "level": "info",
    "ts": 1794830400.123456,
    "logger": "http.log.access.log0",
    "msg": "handled request",
    "request": {
        "remote_ip": "10.0.0.1",
        "method": "GET",
        "host": "maps.example.com",
        "uri": "/maps/1?x=1",
        "headers": {"X-Api-Key": [KEY.text], "User-Agent": ["curl/8"]},
    },
    "bytes_read": 10,
    "duration": 0.0125,
    "size": 20,
    "status": 200,
    "id": "8b1d",
}
AZURE = {
    "time": "2026-11-16T12:00:00.1234567Z",
    "correlationId": "c-1",
    "durationMs": 12,
    "properties": {
        "method": "GET",
        "url": "https://api.example.com/maps/1?subscription-key=secret",
        "responseCode": 200,
        "apimSubscriptionId": "acme-app",
        "requestSize": 10,
        "responseSize": 20,
        "apiId": "maps",
    },
}
TYK = {
    "timestamp": "2026-11-16T12:00:00.123Z",
    "method": "GET",
    "path": "/maps/1",
    "response_code": 200,
    "api_key": "acme-app",
    "request_time": 12,
    "api_name": "Maps",
}
# By format: lines that all mean the same call, and what is read of them.
CASES = {
    "names": (
        [
            (
                '{"id": "a", "occurred_at": "2026-11-16T12:00:00Z",'
                ' "key": "rck-of-the-caller-0001",'
                ' "path": "/maps/1", "subscription": "acme-maps", "source": "maps"}'
            )
        ],
        {
            "transaction_id": "a",
            "occurred_at": NOON,
            "key": KEY,
            "path": "/maps/1",
            "subscription_named": "acme-maps",
            "source_named": "maps",
        },
    ),
    "nginx": (
        [
            (
                '{"id":"4d1c6a3b2f","ts":"1794830400.123","key":"rck-of-the-caller-0001",'
                '"method":"GET","path":"/maps/1","status":"200","request_bytes":"10",'
                '"response_bytes":"20","seconds":"0.012"}'
            ),
            (
                '{"request_id":"4d1c6a3b2f","time_iso8601":"2026-11-16T13:00:00+01:00",'
                '"http_authorization":"Bearer rck-of-the-caller-0001","status":"200",'
                '"request":"GET /maps/1 HTTP/1.1","request_length":"10","body_bytes_sent":"20",'
                '"request_time":"0.012"}'
            ),
        ],
        {
            "transaction_id": "4d1c6a3b2f",
            "key": KEY,
            "method": "GET",
            "path": "/maps/1",
            "status": 200,
            "request_bytes": 10,
            "response_bytes": 20,
            "latency_ms": 12.0,
        },
    ),
    "apache": (
        [
            (
                '{"id":"YWJj@8","ts":"1794830400123456","key":"rck-of-the-caller-0001",'
                '"method":"GET","path":"/maps/1","status":"200","response_bytes":"-",'
                '"latency_us":"12500"}'
            )
        ],
        {
            "transaction_id": "YWJj@8",
            "occurred_at": noon(123456),
            "key": KEY,
            "status": 200,
            "response_bytes": None,
            "latency_ms": 12.5,
        },
    ),
    "combined": (
        [
            (
                '10.0.0.1 - - [16/Nov/2026:13:00:00 +0100] "GET /maps/1?x=1 HTTP/1.1" 200 20 "-"'
                ' "curl/8 \\"odd\\"" "rck-of-the-caller-0001"'
            )
        ],
        {
            "occurred_at": NOON,
            "key": KEY,
            "method": "GET",
            "path": "/maps/1?x=1",
            "status": 200,
            "response_bytes": 20,
        },
    ),
    "haproxy": (
        [
            (
                '<134>1 2026-11-16T12:00:00Z edge haproxy 7 - - {"id":"4D1C:6A",'
                '"ts":"1794830400.123","key":"rck-of-the-caller-0001","method":"GET",'
                '"path":"\\/maps\\/1","status":"200","request_bytes":"10","response_bytes":"20",'
                '"latency_ms":"12"}'
            )
        ],
        {
            "transaction_id": "4D1C:6A",
            "occurred_at": noon(123000),
            "key": KEY,
            "path": "/maps/1",
            "request_bytes": 10,
            "response_bytes": 20,
            "latency_ms": 12.0,
        },
    ),
    "caddy": (
        [json.dumps(CADDY)],
        {
            "transaction_id": "8b1d",
            "occurred_at": noon(123456),
            "key": KEY,
            "method": "GET",
            "path": "/maps/1?x=1",
            "status": 200,
            "request_bytes": 10,
            "response_bytes": 20,
            "latency_ms": 12.5,
            "metadata": {"format": "caddy 1", "host": "maps.example.com"},
        },
    ),
    "traefik": (
        [
            (
                '{"StartUTC":"2026-11-16T12:00:00.123456789Z","RequestMethod":"GET",'
                '"request_X-Api-Key":"rck-of-the-caller-0001","RequestPath":"/maps/1",'
                '"DownstreamStatus":200,"Duration":12500000,"DownstreamContentSize":20,'
                '"ClientPort":"59550","RouterName":"maps@file"}'
            ),
            (
                '{"StartUTC":1794830400123456789,"request_X-Api-Key":"rck-of-the-caller-0001",'
                '"RequestMethod":"GET","RequestPath":"/maps/1","DownstreamStatus":200,'
                '"Duration":12500000,"DownstreamContentSize":20,"RouterName":"maps@file"}'
            ),
        ],
        {
            "occurred_at": noon(123456),
            "key": KEY,
            "method": "GET",
            "path": "/maps/1",
            "status": 200,
            "response_bytes": 20,
            "latency_ms": 12.5,
            "elements": {"calls": 1},
            "metadata": {"format": "traefik 2", "router": "maps@file"},
        },
    ),
    "traefik-checked": (
        [
            (
                '{"StartUTC":"2026-11-16T12:00:00Z","request_X-Api-Key":"rck-of-the-caller-0001",'
                '"request_X-Revcred-Credential":"cred_0123456789abcdef0123456789abcdef",'
                '"RequestPath":"/maps/1","DownstreamStatus":200}'
            )
        ],
        {"fingerprint": "0123456789abcdef0123456789abcdef", "path": "/maps/1"},
    ),
    "traefik-clf": (
        [
            (
                "10.0.0.1 - acme-app [16/Nov/2026:12:00:00 +0000]"
                ' "GET /maps/1 HTTP/1.1" 200 20 "-" "curl/8" 17 "maps@file" "http://10.1.1.1:80"'
                " 12ms"
            )
        ],
        {
            "occurred_at": NOON,
            "key": ALIAS,
            "path": "/maps/1",
            "status": 200,
            "latency_ms": 12.0,
        },
    ),
    "envoy": (
        [
            (
                '{"transaction_id":"4d1c","occurred_at":"2026-11-16T12:00:00.123Z",'
                '"credential":"cred_0123456789abcdef0123456789abcdef","key":"rck-of-the-caller-0001","method":"GET",'
                '"path":"/maps/1/rck-of-the-caller-0001","status":200,"request_bytes":10,'
                '"response_bytes":20,"latency_ms":12}'
            )
        ],
        {
            "transaction_id": "4d1c",
            "occurred_at": noon(123000),
            "fingerprint": "0123456789abcdef0123456789abcdef",
            "hint": "cdef",
            "distinguished_by": None,
            "latency_ms": 12.0,
        },
    ),
    "kong": (
        [json.dumps(KONG)],
        {
            "transaction_id": "4d1c6a3b2f",
            "occurred_at": noon(123000),
            "key": ALIAS,
            "method": "GET",
            "path": "/maps/1?x=1",
            "status": 200,
            "request_bytes": 312,
            "response_bytes": 1512,
            "latency_ms": 12.0,
            "metadata": {"format": "kong 1", "route": "maps", "service": "maps-service"},
        },
    ),
    "apisix": (
        [json.dumps(APISIX)],
        {
            "transaction_id": "r-1",
            "occurred_at": noon(123000),
            "key": ALIAS,
            "status": 200,
            "latency_ms": 5.5,
        },
    ),
    "tyk": (
        [json.dumps(TYK), json.dumps({"time": 1794830400, "event": TYK})],
        {
            "occurred_at": noon(123000),
            "key": ALIAS,
            "method": "GET",
            "path": "/maps/1",
            "status": 200,
            "latency_ms": 12.0,
            "metadata": {"format": "tyk 2", "api": "Maps"},
        },
    ),
    "gravitee": (
        [
            (
                '{"requestId":"4d1c","timestamp":1794830400123,"applicationId":"acme-app",'
                '"planId":"gold","apiId":"maps","httpMethod":"GET","uri":"/maps/1","status":200,'
                '"gatewayResponseTimeMs":12}'
            )
        ],
        {
            "transaction_id": "4d1c",
            "occurred_at": noon(123000),
            "key": ALIAS,
            "method": "GET",
            "metadata": {"format": "gravitee 1", "api": "maps", "plan": "gold"},
        },
    ),
    "aws": (
        [
            (
                '{"extendedRequestId":"Qx1=","requestId":"the-callers",'
                '"requestTimeEpoch":"1794830400123","apiKeyId":"acme-app","httpMethod":"GET",'
                '"path":"/maps/1","status":"200","responseLength":"20","responseLatency":"12",'
                '"stage":"prod"}'
            )
        ],
        {
            "transaction_id": "Qx1=",
            "occurred_at": noon(123000),
            "key": ALIAS,
            "status": 200,
            "response_bytes": 20,
            "latency_ms": 12.0,
            "distinguished_by": None,
        },
    ),
    "azure": (
        [json.dumps(AZURE), json.dumps({"records": [AZURE]})],
        {
            "transaction_id": "c-1",
            "occurred_at": noon(123456),
            "key": ALIAS,
            "status": 200,
            "request_bytes": 10,
            "response_bytes": 20,
            "latency_ms": 12.0,
            "metadata": {"format": "azure 1", "api": "maps"},
        },
    ),
    "revenium": (
        [
            (
                '{"timestamp":"2026-11-16T12:00:00Z","application":"rck-of-the-caller-0001",'
                '"url":"/maps/1","responseCode":200}'
            )
        ],
        {"occurred_at": NOON, "key": KEY, "path": "/maps/1", "status": 200},
    ),
    "csv": (
        ["a,2026-11-16T12:00:00Z,rck-of-the-caller-0001,,,maps,GET,/maps/1,200,10,20,12.5"],
        {
            "transaction_id": "a",
            "occurred_at": NOON,
            "key": KEY,
            "source_named": "maps",
            "subscription_named": None,
            "status": 200,
            "latency_ms": 12.5,
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_lines_of_a_gateway_are_read(name):
    lines, expected = CASES[name]
    for line in lines:
        (call,) = calls_in(built_in_format(name), line)

        assert {fact: getattr(call, fact) for fact in expected} == expected


def test_each_format_has_a_line():
    assert set(CASES) == {each.name for each in BUILT_IN_FORMATS}


@pytest.mark.parametrize("each", BUILT_IN_FORMATS, ids=lambda each: each.name)
def test_each_definition_is_one_that_an_admin_could_save(each):
    check_definition(each.definition)


def test_each_kind_of_gateway_has_a_format():
    assert set(BUILT_IN_BY_KIND) == set(Gateway.Kind)


def test_an_id_that_the_caller_of_apisix_sent_is_told_apart_by_the_call():
    first, again, later = calls_in(
        built_in_format("apisix"),
        json.dumps(APISIX),
        json.dumps(APISIX),
        json.dumps(APISIX | {"start_time": 1794830400124}),
    )

    assert first.distinguished_by == again.distinguished_by
    assert first.distinguished_by != later.distinguished_by


def test_caddys_log_of_errors_is_ignored():
    line = json.dumps(CADDY | {"logger": "http.log.error"})

    assert calls_in(built_in_format("caddy"), line) == [None]


def test_failed_calls_of_revenium_are_ignored():
    line = '{"timestamp":"2026-11-16T12:00:00Z","application":"a-1","url":"/","responseCode":500}'

    assert calls_in(built_in_format("revenium"), line) == [None]


def test_the_header_of_a_csv_is_ignored():
    columns = built_in_format("csv").definition.columns

    assert calls_in(built_in_format("csv"), ",".join(columns)) == []


REQUEST_LINE = '10.0.0.1 - - [16/Nov/2026:12:00:00 +0000] "GET /'
LONG = 60_000


@pytest.mark.parametrize(
    "name", [each.name for each in BUILT_IN_FORMATS if each.definition.pattern]
)
@pytest.mark.parametrize(
    "line",
    [
        REQUEST_LINE + "a" * LONG,
        REQUEST_LINE + "a" * LONG + '" cut',
        REQUEST_LINE + "\\a" * (LONG // 2) + '" cut',
        REQUEST_LINE + " " * LONG,
        REQUEST_LINE + ' HTTP/1.1" 200 5"' + "a" * LONG,
        REQUEST_LINE + ' HTTP/1.1" 200 5x "-" "' + '\\"' * (LONG // 2),
        "a" * LONG,
        "[" * LONG,
    ],
    ids=range(8),
)
def test_no_line_keeps_a_door_busy(name, line):
    started = time.process_time()

    with pytest.raises(ItemRejected, match="does not match"):
        calls_in(built_in_format(name), line)

    assert time.process_time() - started < 2  # of minutes, if every place were tried


def test_a_user_whom_traefik_did_not_let_in_is_charged_nothing():
    (line,) = CASES["traefik-clf"][0]

    assert calls_in(built_in_format("traefik-clf"), line.replace('" 200 ', '" 401 ')) == [None]


def test_quotes_in_an_address_are_part_of_it(only_call):
    line = REQUEST_LINE + f'a\\"b HTTP/1.1" 200 5 "-" "-" "{KEY.text}"'

    call = only_call(built_in_format("combined"), line)

    assert (call.path, call.status, call.key) == ('/a\\"b', 200, KEY)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        # Headers as the caller sent them, and a key that Tyk did not let in.
        ("traefik", {"request_X-Revcred-Credential": PUBLIC_ID, "StartUTC": 1794830400}),
        ("tyk", {**TYK, "api_key": PUBLIC_ID, "alias": "", "response_code": 403}),
    ],
)
def test_callers_are_not_believed_whose_they_are(name, fields):
    (call,) = calls_in(built_in_format(name), json.dumps(fields))

    assert call.fingerprint != PUBLIC_ID.removeprefix("cred_")


def test_a_public_id_that_was_entered_at_tyk_counts():
    fields = {**TYK, "alias": PUBLIC_ID}

    (call,) = calls_in(built_in_format("tyk"), json.dumps(fields))

    assert call.fingerprint == PUBLIC_ID.removeprefix("cred_")
