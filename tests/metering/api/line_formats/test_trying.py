import json
from datetime import timedelta

import pytest
from django.utils import timezone

from metering.api.line_formats.choosing import built_in_format
from metering.api.line_formats.trying import count_read_facts, try_lines
from metering.api.transactions import AcceptanceWindow
from metering.models import Delivery, Rejection
from revcred.api.errors import MalformedRequest
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "some-key-of-a-caller-0001"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge", kind="nginx")


@pytest.fixture
def window(gateway):
    return AcceptanceWindow.for_gateway(gateway, timezone.now())


def line(**fields):
    return json.dumps({"id": "a", "ts": timezone.now().isoformat(), "key": KEY} | fields)


def test_lines_are_judged_and_not_stored(gateway, window):
    customer = factories.a_customer()
    gold = factories.a_subscription(customer)
    factories.a_credential(customer, key=KEY, subscriptions=[gold])
    late = (timezone.now() + timedelta(days=1)).isoformat()
    text = "\n".join([line(), line(key="unknown-key"), "# head", line(ts=late), f"no json {KEY}"])

    tried = try_lines(text, built_in_format("nginx"), gateway, window)

    known, unknown, head, ahead, broken = tried.lines
    assert known.calls[0].verdict.subscription_id == gold.pk
    assert known.calls[0].call.key is None
    assert unknown.calls[0].verdict.reason == "unknown_key"
    assert (head.calls, head.rejected) == ([], [])
    assert [each.code for each in ahead.rejected] == ["too_new"]
    assert [each.code for each in broken.rejected] == ["malformed"]
    assert [each.number for each in tried.lines] == [1, 2, 3, 4, 5]
    assert not Delivery.objects.exists()
    assert not Rejection.objects.exists()


def test_what_is_missing_and_what_is_not_kept_is_said(gateway, window):
    text = line(status=200, secret="x", nested={"a": 1})

    tried = try_lines(text, built_in_format("nginx"), gateway, window)

    assert tried.missing_facts == ["method", "path", "request size", "response size", "latency"]
    assert tried.unread_names == ["secret", "nested"]


def test_members_beside_those_that_are_read_are_said(gateway, window):
    text = json.dumps({"started_at": 1, "request": {"id": "a", "tls": {}}, "upstream_uri": "/"})

    tried = try_lines(text, built_in_format("kong"), gateway, window)

    assert tried.unread_names == ["request/tls", "upstream_uri"]


@pytest.mark.parametrize(
    ("format_name", "fields", "expected"),
    [
        ("nginx", {}, "the gateway's own"),
        ("names", {}, "callers may choose it"),
        ("nginx", {"id": ""}, "made of the line"),
    ],
)
def test_where_the_id_is_from_is_said(gateway, window, format_name, fields, expected):
    tried = try_lines(line(**fields), built_in_format(format_name), gateway, window)

    assert tried.lines[0].calls[0].id_origin == expected


def test_the_place_of_a_line_is_its_id(gateway, window):
    text = json.dumps({"file": "edge-1", "at": 7, "line": line(id="")})

    tried = try_lines(text, built_in_format("nginx"), gateway, window)

    assert tried.lines[0].calls[0].id_origin == "the line's place"


def test_the_format_that_fits_reads_most(window):
    text = line(method="GET", path="/a", status=200, seconds=1)

    facts = {
        name: count_read_facts(text, built_in_format(name), window)
        for name in ("nginx", "kong", "combined", "csv")
    }

    assert facts == {"nginx": 7, "kong": 0, "combined": 0, "csv": 0}


def test_nothing_to_try_is_an_error(gateway, window):
    with pytest.raises(MalformedRequest):
        try_lines("\n", built_in_format("nginx"), gateway, window)
