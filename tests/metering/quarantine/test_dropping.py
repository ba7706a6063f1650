from datetime import timedelta

import pytest
from django.utils import timezone

from metering.models import Quarantined, QuarantineDrop, SeenTransaction
from metering.models.functions import first_id_at
from metering.quarantine import dropping
from revcred.actions.credentials import NewKey, issue_credential
from tests import factories

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def gateway():
    return factories.a_gateway("edge")


def waiting():
    return set(Quarantined.objects.values_list("transaction_id", flat=True))


def dropped():
    rows = QuarantineDrop.objects.order_by("day", "reason")
    return [(row.gateway.name, row.reason, row.cause, row.calls) for row in rows]


def quarantined(*calls, gateway, ago=timedelta(), **fields):
    """Put these calls into quarantine, as if they had come so long ago."""
    factories.settled(*calls, gateway=gateway)
    moment = timezone.now() - ago
    for place, call in enumerate(calls):
        # A millisecond for each: ids are in the order of arrival.
        arrived = moment + timedelta(milliseconds=place)
        row = Quarantined.objects.filter(transaction_id=call.transaction_id)
        row.update(id=first_id_at(arrived), received_at=arrived, occurred_at=arrived, **fields)
    return [call.transaction_id for call in calls]


def test_old_calls_of_unknown_keys_and_of_none_are_dropped_and_counted(gateway, settings):
    settings.UNKNOWN_KEY_DAYS = 60
    new = quarantined(factories.a_call("a-key-of-now"), gateway=gateway, ago=59 * DAY)
    calls = [factories.a_call("twice-seen"), factories.a_call("twice-seen"), factories.a_call()]
    quarantined(*calls, gateway=gateway, ago=61 * DAY)
    released = factories.a_call("looked-at-by-somebody")
    quarantined(released, gateway=gateway, ago=61 * DAY, released_at=timezone.now())

    assert dropping.drop_old_calls() == 4

    assert waiting() == {*new}
    assert dropped() == [("edge", "anonymous", "age", 1), ("edge", "unknown_key", "age", 3)]


def test_no_call_is_dropped_that_its_gateway_may_still_send(gateway, settings):
    settings.UNKNOWN_KEY_DAYS = 1
    young = quarantined(factories.a_call("a-key-of-now"), gateway=gateway, ago=30 * DAY)
    quarantined(factories.a_call("a-key-of-then"), gateway=gateway, ago=32 * DAY)
    assert dropping.drop_old_calls() == 1

    factories.a_gateway(accepted_days=100)
    quarantined(factories.a_call("a-key-of-then"), gateway=gateway, ago=32 * DAY)
    assert dropping.drop_old_calls() == 0
    assert {*young} < waiting()


def test_calls_that_may_be_somebodys_stay(gateway, settings):
    settings.UNKNOWN_KEY_DAYS, settings.MAX_UNKNOWN_KEYS_PER_GATEWAY = 31, 0
    elsewhere = NewKey(key="a-key-elsewhere", gateway=factories.a_gateway())
    issue_credential(customer=factories.a_customer(), name="x", by=None, new_key=elsewhere)
    factories.a_credential(key="a-key-in-quotes")
    calls = {
        "of another gateway's credential": factories.a_call("a-key-elsewhere"),
        "written oddly": factories.a_call(
            '"a-key-in-quotes"',
            similar_fingerprint=factories.fingerprint_hex("a-key-in-quotes"),
            oddities="quotes",
        ),
        "not valid then": factories.a_call("a-key-in-quotes", ago=timedelta(days=30)),
    }
    quarantined(*calls.values(), gateway=gateway, ago=200 * DAY)
    failed = factories.a_call("poison")
    quarantined(failed, gateway=gateway, ago=200 * DAY, reason="poison", error="DataError")
    kept = waiting()
    assert len(kept) == 4

    assert dropping.drop_old_calls() == 0
    assert dropping.drop_calls_over_limit() == 0
    assert waiting() == kept


def test_a_scanner_costs_a_bounded_number_of_rows(gateway, settings, monkeypatch, client, sign_in):
    settings.MAX_UNKNOWN_KEYS_PER_GATEWAY = 5
    monkeypatch.setattr(dropping, "DROP_BATCH_ROWS", 4)
    other = quarantined(factories.a_call("of-another"), gateway=factories.a_gateway("other"))
    twice = [factories.a_call("forgotten-key"), factories.a_call("forgotten-key")]
    anonymous = factories.a_call()
    kept = quarantined(*twice, anonymous, gateway=gateway, ago=3 * DAY)
    tries = [factories.a_call(f"random-{n}") for n in range(15)]
    quarantined(*tries, gateway=gateway, ago=DAY)
    seen = SeenTransaction.objects.count()

    assert dropping.drop_calls_over_limit() == 10

    assert waiting() == {*other, *kept, *(call.transaction_id for call in tries[10:])}
    assert dropped() == [("edge", "unknown_key", "limit", 10)]
    dropped_metric = 'revcred_transactions_dropped_total{cause="limit",reason="unknown_key"} 10.0'
    assert dropped_metric in client.get("/metrics").text
    page = sign_in(factories.an_admin()).get("/admin/metering/quarantined/").text
    assert "Over the limit of unknown keys" in page
    assert '<td class="number">10</td>' in page
    assert dropping.drop_calls_over_limit() == 0

    factories.settled(*tries, gateway=gateway)  # sent again
    assert SeenTransaction.objects.count() == seen
    assert len(waiting()) == 9
