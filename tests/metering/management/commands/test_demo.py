import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from random import Random
from threading import Thread

import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from metering.api.transactions import AcceptanceWindow, call_from_transaction, transaction_decoder
from metering.demo import notes, traffic
from metering.demo.gateway import DemoGateway
from metering.models import Claim, Conflict, IntakeStats, Quarantined, QuarantineReason, Transaction
from revcred.models import AuditEvent, Credential, Gateway, Subscriber, User
from tests.metering.attribution.test_processing import no_differences

URL = "http://127.0.0.1:8123"


@pytest.fixture(autouse=True)
def path(monkeypatch, tmp_path, settings):
    """Use notes of this test's own, and less traffic."""
    fewer = tuple(replace(each, calls=min(each.calls, 60)) for each in traffic.CALL_STREAMS)
    monkeypatch.setattr(traffic, "CALL_STREAMS", fewer)
    # Another role would have a connection of its own, outside of the test's transaction.
    settings.MIGRATION_DATABASE = connection.settings_dict
    monkeypatch.setattr(notes, "NOTES_PATH", tmp_path / ".run" / "demo.json")
    return notes.NOTES_PATH


@pytest.fixture
def load(path):
    def load():
        call_command("demo", url=URL)
        return json.loads(path.read_text())

    return load


def reasons():
    return set(Quarantined.objects.values_list("reason", flat=True))


@pytest.mark.django_db
def test_the_demo_shows_what_can_happen(load):
    load()

    assert reasons() == {
        QuarantineReason.UNKNOWN_KEY,
        QuarantineReason.KEY_NOT_VALID,
        QuarantineReason.NO_SUBSCRIPTION,
        QuarantineReason.SUBSCRIPTION_MISMATCH,
        QuarantineReason.AMBIGUOUS,
    }
    tally = IntakeStats.objects.get()
    assert tally.attributed == Transaction.objects.count()
    assert tally.quarantined == Quarantined.objects.count()
    assert (tally.repeated, tally.conflicting) == (traffic.REPEATED_CALLS, 1)
    assert Conflict.objects.count() == 1
    assert not Claim.objects.open().exists()
    assert no_differences()


@pytest.mark.django_db
def test_usage_stayed_where_it_was_when_its_credential_moved(load):
    load()

    planner = Transaction.objects.filter(credential__name="Route planner")
    moved_at = planner.filter(subscription__external_key="harbour-planning").earliest("occurred_at")
    before = planner.filter(occurred_at__lt=moved_at.occurred_at)
    assert set(before.values_list("subscription__external_key", flat=True)) == {"harbour-fleet"}


@pytest.mark.django_db
def test_the_notes_are_for_their_owner_only_and_say_what_scripts_need(load, path):
    noted = load()

    assert path.stat().st_mode & 0o777 == 0o600
    assert set(noted) == {"url", "admin", "subscribers", "gateway", "credentials"}
    assert noted["url"] == URL
    first = noted["credentials"][0]
    credential = Credential.objects.get(
        name=first["name"], customer__external_key=first["customer"]
    )
    assert credential.assignments.get().subscription.external_key == first["subscription"]
    assert first["external_key"] not in str(list(AuditEvent.objects.values_list("details")))


@pytest.mark.django_db
def test_everybody_noted_can_sign_in(load):
    noted = load()

    assert len(noted["subscribers"]) == Subscriber.objects.count() == 7
    for person in (noted["admin"], noted["subscribers"][0]):
        sent = {"login": person["email"], "password": person["password"]}
        assert Client().post("/account/login/", sent).status_code == 302


@pytest.mark.django_db
def test_what_the_gateway_posts_is_accepted(load):
    noted = load()
    call = {
        "transaction_id": "t-1",
        "occurred_at": datetime.now(UTC).isoformat(),
        "key": noted["credentials"][0]["external_key"],
    }

    answer = Client().post(
        "/v1/transactions",
        call,
        content_type="application/json",
        headers={"x-api-key": noted["gateway"]["token"]},
    )

    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1


@pytest.mark.django_db
def test_a_second_call_keeps_everything_but_the_url(load, path):
    noted = load()
    path.write_text(json.dumps(noted | {"url": "http://127.0.0.1:1"}))
    count = Transaction.objects.count()

    assert load() == noted
    assert Transaction.objects.count() == count
    assert Gateway.objects.count() == 1


@pytest.mark.django_db
def test_lost_notes_are_made_anew_with_the_same_keys(load, path):
    noted = load()
    path.unlink()

    anew = load()

    assert anew["credentials"] == noted["credentials"]
    assert anew["gateway"]["token"] != noted["gateway"]["token"]
    assert not User.objects.get(email=noted["admin"]["email"]).check_password(
        noted["admin"]["password"]
    )
    keys = len(noted["credentials"]) + 1  # one is in rotation
    assert AuditEvent.objects.reveals().count() == keys


@pytest.mark.django_db
def test_production_has_no_demo(settings, load):
    settings.PRODUCTION = True

    with pytest.raises(CommandError, match="production"):
        load()

    assert not Gateway.objects.exists()


def test_the_month_is_the_same_every_time():
    keys = {each.key_of: f"key of {each.key_of}" for each in traffic.CALL_STREAMS if each.key_of}
    now = datetime(2026, 1, 15, 12, tzinfo=UTC)

    calls = traffic.month_of_calls(keys, keys, now)

    assert calls == traffic.month_of_calls(keys, keys, now)
    assert all(
        now - timedelta(days=traffic.HISTORY_DAYS) <= each.occurred_at <= now for each in calls
    )
    counted = Counter(each.transaction_id for each in calls)
    assert sum(counted.values()) - len(counted) == traffic.REPEATED_CALLS + 1


def test_what_goes_on_is_what_the_door_takes():
    now = datetime.now(UTC)

    calls = traffic.random_calls(200, Random(1), now, {"Delivery app": "a-key"}, {})

    body = msgspec.json.Encoder(decimal_format="number").encode(calls)
    window = AcceptanceWindow.for_gateway(Gateway(), now)
    assert [
        call_from_transaction(each, window) for each in transaction_decoder.decode(body, "")
    ] == [call_from_transaction(each, window) for each in calls]
    assert {each.key for each in calls if each.source is msgspec.UNSET} >= {"a-key"}


@pytest.fixture
def door():
    """A door that rejects the first two deliveries, and keeps what it was sent."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(202 if len(self.server.bodies) > 2 else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Door)
    server.bodies = []
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_gateway_posts_the_same_delivery_until_it_is_accepted(door):
    notes.write_notes({"gateway": {"name": "", "token": "rvg_1"}, "credentials": []})
    gateway = DemoGateway(f"http://127.0.0.1:{door.server_port}")
    calls = gateway._next()

    gateway._deliver(calls)

    assert len(door.bodies) == 3
    assert len(set(door.bodies)) == 1
    assert len(json.loads(door.bodies[0])) == len(calls)
