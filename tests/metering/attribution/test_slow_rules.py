"""A path rule that is slow on real paths is switched off, and no call is blamed for it."""

import pytest
from django.db import connection
from django.urls import reverse

from metering.attribution import slow_rules
from metering.attribution.cautious_mode import cautious_mode
from metering.attribution.processing import process_deliveries
from metering.inbox.intake import accept_calls
from metering.models import Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.hooks import announce_change
from revcred.models import AuditEvent, PathRule, Source
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-callers"
# Look-ahead is not allowed on pages; it stands for whatever PostgreSQL is slow with.
SLOW = "(?=.*(?=.*(?=.*x)))y"
SLOW_PATH = "/" + "ab1-" * 240


@pytest.fixture
def source():
    source = Source.objects.create(name="Maps", external_key="maps")
    source.path_rules.create(text="/maps/")
    source.path_rules.create(match="regex", text="^/tiles/[0-9]+/")
    return source


@pytest.fixture
def slow(source):
    return source.path_rules.create(match="regex", text=SLOW)


@pytest.fixture
def credential():
    customer = factories.a_customer()
    return factories.a_credential(customer, KEY, subscriptions=[factories.a_subscription(customer)])


def off():
    return set(PathRule.objects.slow())


def test_a_slow_rule_is_switched_off_and_nobodys_call_waits_or_is_blamed(
    slow, source, credential, client, sign_in
):
    calls = [factories.a_call(KEY, path=path) for path in ("/maps/1", "/tiles/1/", SLOW_PATH)]
    for call in calls:
        accept_calls(factories.a_gateway(), [call])

    # One statement is stopped; the batch is tried again at once, without a pause.
    assert process_deliveries() == 3

    assert (off(), cautious_mode.is_on()) == ({slow}, True)
    assert Transaction.objects.count() == 3
    assert Transaction.objects.filter(source_id=source.pk).count() == 2
    event = AuditEvent.objects.get(verb="switched_off")
    assert (event.target_id, event.details["path_rule"]) == (source.pk, str(slow))
    assert "revcred_slow_path_rules 1.0" in client.get("/metrics").text

    admin = sign_in(factories.an_admin())
    product = factories.a_product()
    product.sources.add(source)
    for target in (source, product):
        page = admin.get(
            reverse(f"admin:revcred_{target._meta.model_name}_change", args=[target.pk])
        )
        assert "was switched off at" in page.text


def test_healthy_rules_are_left_on(source):
    paths = [SLOW_PATH + str(number) for number in range(slow_rules.MAX_MEASURED_PATHS)]
    factories.settled(*[factories.a_call(path=path) for path in paths])

    assert not slow_rules.switch_off_rules_slow_lately()
    assert not off()


def test_the_clock_finds_a_rule_that_is_slow_on_the_latest_calls(source, monkeypatch):
    factories.settled(factories.a_call(path=SLOW_PATH))
    slow = source.path_rules.create(match="regex", text=SLOW)

    assert slow_rules.switch_off_rules_slow_lately()
    assert off() == {slow}


def test_a_claim_blames_the_rule_and_no_transaction(source, credential, settings):
    factories.settled(factories.a_call("unknown", path=SLOW_PATH))
    slow = source.path_rules.create(match="regex", text=SLOW)
    announce_change("a test asks for it", by=None)

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 1000")
    try:
        reattribution.work_through_claims()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 30000")

    assert off() == {slow}
    assert Quarantined.objects.get().reason == "unknown_key"


def test_an_expression_sees_the_beginning_of_a_path(source, credential):
    source.path_rules.create(match="regex", text="late")
    for path in ("/" + "a" * 990 + "late", "/" + "a" * 1_000 + "late"):
        factories.settled(factories.a_call(KEY, path=path))

    found = Transaction.objects.order_by("pk").values_list("source_id", flat=True)
    assert [*found] == [source.pk, None]
