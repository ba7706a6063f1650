"""Poison delays no other transaction, and is quarantined with the class of its error."""

import os
import signal
import time
import warnings
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone

from metering import actions
from metering.admin import groups
from metering.attribution import processing
from metering.attribution.cautious_mode import cautious_mode
from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.intake import accept_calls
from metering.management.commands.clock import sweep_waiting_work
from metering.models import Claim, Delivery, IntakeStats, Quarantined, QuarantineReason, Transaction
from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.hooks import announce_change
from revcred.runtime import schema_version
from tests import factories
from tests.confirming import post
from tests.metering.attribution.test_processing import no_differences
from tests.owner import forget_migration, owner_cursor, record_migration

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-the-healthy"
SOON = 10  # seconds, on a busy machine

# What a transaction of this id does to PostgreSQL, when it reaches the ledger.
EVILS = {
    "raises": "RAISE 'I am poison'",
    "exits": "PERFORM pg_terminate_backend(pg_backend_pid())",
    "loops": "LOOP END LOOP",
    "wants too much": "PERFORM repeat('x', 2000000000)",
    "is refused memory": "RAISE 'I want more' USING ERRCODE = 'out_of_memory'",
}
NAMES = {
    "raises": "RaiseException",
    "exits": "AdminShutdown",
    "loops": "QueryCanceled",
    "wants too much": "ProgramLimitExceeded",
    "is refused memory": "OutOfMemory",
}
TABLES = ("metering_transaction", "metering_quarantined")
TALLIED = (
    *("accepted", "rejected", "passed_over", "repeated"),
    *("conflicting", "attributed", "quarantined"),
)


@contextmanager
def evil(does, *tables):
    """Make these tables fail so for transactions whose ids begin with `evil`."""
    function = f"""
        CREATE OR REPLACE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER AS $$ BEGIN -- as the owner, who may end a connection of the tests
            IF starts_with(NEW.transaction_id, 'evil') THEN {does}; END IF;
            RETURN NEW;
        END $$
    """
    with owner_cursor() as cursor:
        cursor.execute(function)
        for table in tables:
            cursor.execute(
                f"CREATE TRIGGER evil BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION evil()"
            )
    try:
        yield
    finally:
        with owner_cursor() as cursor:
            for table in tables:
                cursor.execute(f"DROP TRIGGER evil ON {table}")


@pytest.fixture
def gateway():
    return factories.a_gateway()


@pytest.fixture
def credential():
    customer = factories.a_customer()
    return factories.a_credential(customer, KEY, subscriptions=[factories.a_subscription(customer)])


def healthy(count):
    return [factories.a_call(KEY) for _ in range(count)]


def poison(name="evil", **fields):
    return factories.a_call(KEY, transaction_id=name, **fields)


def names(model=Transaction):
    return set(model.objects.values_list("transaction_id", flat=True))


def without_pauses(most=20):
    """Process the inbox until nothing waits, without the pauses between attempts."""
    for _ in range(most):
        Delivery.objects.update(next_try_at=timezone.now() - timedelta(hours=1))
        cautious_mode.enter()
        process_waiting_deliveries()
        if not Delivery.objects.exists():
            return


@pytest.mark.parametrize("kind", EVILS)
def test_others_are_processed_at_once_and_the_poison_is_quarantined(credential, gateway, kind):
    calls = healthy(40)
    for call in calls[:20]:
        accept_calls(gateway, [call])
    accept_calls(gateway, [poison()])
    for call in calls[20:]:
        accept_calls(gateway, [call])

    with evil(EVILS[kind], "metering_transaction"):
        began = time.monotonic()
        process_waiting_deliveries()
        seconds = time.monotonic() - began
        assert names() == {call.transaction_id for call in calls}
        assert seconds < SOON
        without_pauses()

    waiting = Quarantined.objects.get()
    assert (waiting.transaction_id, waiting.reason) == ("evil", QuarantineReason.POISON)
    assert waiting.error == NAMES[kind]
    assert names() == {call.transaction_id for call in calls}
    assert no_differences()


def test_of_one_post_only_the_poison_is_quarantined(credential, gateway):
    good = healthy(300)
    accept_calls(gateway, [*good[:150], poison(), *good[150:]], rejected=2)

    with evil(EVILS["exits"], "metering_transaction"):
        began = time.monotonic()
        process_waiting_deliveries()
        assert names() == {call.transaction_id for call in good}
        assert time.monotonic() - began < SOON
        without_pauses()

    assert names(Quarantined) == {"evil"}
    assert no_differences()
    tallied = IntakeStats.objects.aggregate(**{name: Sum(name) for name in TALLIED})
    assert tallied == {
        "accepted": 301,
        "rejected": 2,
        "passed_over": 0,
        "repeated": 0,
        "conflicting": 0,
        "attributed": 300,
        "quarantined": 1,
    }


def test_what_is_put_aside_is_tallied_with_what_was_rejected_beside_it(credential, gateway):
    call = poison()
    for _ in range(2):
        accept_calls(gateway, [call], rejected=3, passed_over=4)
        with evil(EVILS["raises"], "metering_transaction"):
            without_pauses()

    tally = IntakeStats.objects.get()
    assert (tally.accepted, tally.rejected, tally.passed_over) == (2, 6, 8)
    assert (tally.quarantined, tally.repeated, tally.attributed) == (1, 1, 0)


def test_a_number_that_nothing_can_hold_is_left_out(gateway):
    """No door accepts such a number."""
    accept_calls(gateway, [poison(status=99_999, request_bytes=12, latency_ms=0.5)])

    process_waiting_deliveries()
    without_pauses()

    waiting = Quarantined.objects.get()
    assert waiting.error == "NumericValueOutOfRange"
    assert (waiting.status, waiting.request_bytes, waiting.latency_ms) == (None, 12, 0.5)


def test_a_failure_waits_longer_each_time(credential, gateway):
    accept_calls(gateway, [poison()])
    pauses = []

    with evil(EVILS["raises"], "metering_transaction"):
        for _ in range(3):
            process_waiting_deliveries()
            failed = Delivery.objects.get()
            pauses.append(failed.next_try_at - timezone.now())
            Delivery.objects.update(next_try_at=timezone.now())

    assert [round(pause.total_seconds()) for pause in pauses] == [2, 4, 8]
    assert failed.last_error == "RaiseException"


def test_poison_that_cannot_be_quarantined_stays_with_growing_pauses(credential, gateway):
    accept_calls(gateway, [poison(), *healthy(1)])

    with evil(EVILS["raises"], *TABLES):
        process_waiting_deliveries()
        without_pauses(most=8)
        left = Delivery.objects.get()

        assert left.last_error == "RaiseException"
        assert left.next_try_at > timezone.now() + timedelta(seconds=30)
        assert Transaction.objects.count() == 1

    actions.retry_delivery_now(delivery=left)
    process_waiting_deliveries()
    assert Transaction.objects.count() == 2


# --- What no transaction causes ------------------------------------------------------------------


@contextmanager
def another_schema(*, then, back):
    """A change of the schema that this code does not know."""
    with owner_cursor() as cursor:
        cursor.execute(then)
    try:
        yield
    finally:
        with owner_cursor() as cursor:
            cursor.execute(back)


@pytest.mark.parametrize(
    ("then", "back"),
    [
        (
            "ALTER TABLE metering_usage RENAME COLUMN quantity TO amount",
            "ALTER TABLE metering_usage RENAME COLUMN amount TO quantity",
        ),
        (
            "ALTER TABLE revcred_assignment RENAME TO revcred_feed",
            "ALTER TABLE revcred_feed RENAME TO revcred_assignment",
        ),
        (
            "ALTER FUNCTION time_ordered_id() RENAME TO another_id",
            "ALTER FUNCTION another_id() RENAME TO time_ordered_id",
        ),
    ],
)
def test_a_schema_that_does_not_fit_puts_nothing_aside(credential, gateway, then, back, caplog):
    for call in healthy(10):
        accept_calls(gateway, [call])
    accept_calls(gateway, healthy(10))

    with another_schema(then=then, back=back):
        without_pauses(most=30)
        assert Delivery.objects.count() == 11
        assert not Quarantined.objects.exists()
        assert {*Delivery.objects.values_list("attempts", flat=True)} <= {0, 1}

    assert "which no transaction causes" in caplog.text
    without_pauses()
    assert Transaction.objects.count() == 20
    assert no_differences()


def test_what_only_one_transaction_meets_delays_no_other_and_is_kept(credential, gateway):
    calls = healthy(5)
    accept_calls(gateway, [poison(), *calls])

    with evil("PERFORM no_such_function()", "metering_transaction"):
        without_pauses(most=30)
        assert names() == {call.transaction_id for call in calls}
        assert not Quarantined.objects.exists()
        assert Delivery.objects.get().last_error == "UndefinedFunction"

    without_pauses()
    assert Transaction.objects.count() == 6
    assert no_differences()


@pytest.fixture
def newer_database():
    schema_version.is_older_than_database.cache_clear()
    record_migration("metering", "9999_of_tomorrow")
    yield
    forget_migration("metering", "9999_of_tomorrow")
    schema_version.is_older_than_database.cache_clear()


def test_older_code_waits_and_says_so(credential, gateway, client, newer_database):
    accept_calls(gateway, healthy(3))

    process_waiting_deliveries()
    sweep_waiting_work()
    answer = client.get("/readyz")

    assert Delivery.objects.count() == 1
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "older than the database",
        "message": "This code does not know migrations of the database: metering.9999_of_tomorrow.",
    }


def test_what_other_code_put_aside_is_tried_again(credential, gateway):
    accept_calls(gateway, [poison()])
    with evil("RAISE 'I am poison'", "metering_transaction"):
        without_pauses()
    assert Quarantined.objects.get().code_version == schema_version.code_version()
    assert reattribution.retry_poison_of_other_code() == 0

    Quarantined.objects.update(code_version="0.0.1")

    assert reattribution.retry_poison_of_other_code() == 1
    reattribution.work_through_claims()
    assert Transaction.objects.count() == 1
    assert no_differences()


def test_what_fails_again_is_this_codes_and_not_tried_for_ever(credential, gateway):
    accept_calls(gateway, [poison()])
    with evil("RAISE 'I am poison'", *TABLES[:1]):
        without_pauses()
        Quarantined.objects.update(code_version="0.0.1")
        assert reattribution.retry_poison_of_other_code() == 1
        for _ in range(10):
            reattribution.work_through_claims()

        assert Quarantined.objects.get().code_version == schema_version.code_version()
        assert reattribution.retry_poison_of_other_code() == 0


def test_a_claim_blames_nothing_for_a_function_that_is_gone(gateway):
    accept_calls(gateway, [poison()])
    process_waiting_deliveries()
    customer = factories.a_customer()
    factories.a_credential(customer, KEY, subscriptions=[factories.a_subscription(customer)])
    announce_change("a credential came", by=None)

    with evil("PERFORM no_such_function()", "metering_transaction"):
        for _ in range(10):
            reattribution.work_through_claims()
        assert Quarantined.objects.get().error == ""

    reattribution.work_through_claims()
    assert names() == {"evil"}


# --- A process that is gone ----------------------------------------------------------------------


def process_until_killed():
    """Kill a process as soon as it works on poison, as the out-of-memory killer does."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        pid = os.fork()  # as Celery's workers are, only that here are threads
    if not pid:
        process_and_exit()
    # A fork may never run: another thread of the tests may have held a lock that it needs.
    deadline = time.monotonic() + 3 * SOON
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        is_at_work = at_work()
        if is_at_work or time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return is_at_work
        time.sleep(0.01)
    return False


def process_and_exit():
    parents = connection.connection  # not to be closed, for it is the parent's
    try:
        connection.connection = None
        process_waiting_deliveries()
    finally:
        os._exit(parents is None)


def at_work():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'evil'")
        return cursor.fetchone()[0]


def test_a_transaction_that_kills_every_process_is_quarantined(credential, gateway):
    calls = healthy(30)
    for call in calls[:15]:
        accept_calls(gateway, [call])
    accept_calls(gateway, [poison()])
    for call in calls[15:]:
        accept_calls(gateway, [call])

    works = "PERFORM set_config('application_name', 'evil', true), pg_sleep(1)"
    with evil(works, "metering_transaction"):
        kills = 0
        for _ in range(12):
            kills += process_until_killed()
            wait_until(lambda: not at_work())
            if not Delivery.objects.exists():
                break
            Delivery.objects.update(next_try_at=timezone.now() - timedelta(hours=1))

    assert names() == {call.transaction_id for call in calls}
    assert Quarantined.objects.get().error == "ProcessLost"
    assert kills <= 5
    assert no_differences()


def wait_until(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- What is nobody's fault ----------------------------------------------------------------------


@contextmanager
def another_session():
    other = connection.copy()
    other.set_autocommit(False)
    try:
        yield other
    finally:
        other.rollback()
        other.close()


def test_waiting_for_a_lock_quarantines_nothing(credential, gateway):
    accept_calls(gateway, healthy(1))

    with another_session() as other:
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE metering_usage IN ACCESS EXCLUSIVE MODE")
        for _ in range(6):
            cautious_mode.enter()
            Delivery.objects.update(next_try_at=timezone.now())
            process_waiting_deliveries()
        assert Delivery.objects.get().attempts == 0

    without_pauses()
    assert Transaction.objects.count() == 1


def test_nothing_is_quarantined_while_everything_is_slow(credential, gateway, monkeypatch):
    """Even an empty batch takes longer than its limit."""
    accept_calls(gateway, healthy(1))
    slow = "WITH slow AS MATERIALIZED (SELECT pg_sleep(0.6)) SELECT 1, 1 FROM slow"
    with monkeypatch.context() as patched:
        patched.setattr(processing, "PROCESS_ATTEMPTED", slow)
        patched.setattr("metering.attribution.cautious_mode.MAX_TIME_LIMIT_FACTOR", 1)
        for _ in range(6):
            cautious_mode.enter()
            Delivery.objects.update(next_try_at=timezone.now())
            process_waiting_deliveries()

    assert Delivery.objects.get().attempts == 0


def test_an_unavailable_database_counts_as_no_attempt(credential, gateway):
    accept_calls(gateway, healthy(1))
    cautious_mode.enter()
    with evil("RAISE 'full' USING ERRCODE = 'disk_full'", "metering_transaction"):
        Delivery.objects.update(body=Delivery.objects.get().body.replace('"call-', '"evil-call-'))
        for _ in range(6):
            Delivery.objects.update(next_try_at=timezone.now())
            with pytest.raises(OperationalError):
                process_waiting_deliveries()
        assert Delivery.objects.get().attempts == 0


def test_outside_cautious_mode_failed_deliveries_are_left(credential, gateway):
    accept_calls(gateway, healthy(1))
    Delivery.objects.update(attempts=1, next_try_at=timezone.now())
    cautious_mode._next_check_at = time.monotonic() + 60

    assert process_waiting_deliveries() == 0
    cautious_mode._next_check_at = 0

    assert process_waiting_deliveries() == 1
    assert Transaction.objects.count() == 1


def test_a_healthy_batch_needs_no_more_queries(credential, gateway, django_assert_num_queries):
    accept_calls(gateway, healthy(3))
    cautious_mode._next_check_at = time.monotonic() + 60

    # BEGIN, the lock and the limits, COMMIT; Django does not see the prepared statement.
    with django_assert_num_queries(3):
        assert processing.process_deliveries() == 1


# --- Judged again --------------------------------------------------------------------------------


def quarantine_poison(gateway, *calls):
    accept_calls(gateway, calls)
    with evil(EVILS["raises"], "metering_transaction"):
        process_waiting_deliveries()
        without_pauses()
    assert names(Quarantined) == {"evil"}


def test_one_click_matches_it_again(credential, gateway, admin_client):
    quarantine_poison(gateway, poison(status=201, response_bytes=7, metadata={"a": 1}), *healthy(1))
    (group,) = groups.find_groups(reason=QuarantineReason.POISON)
    url = reverse("admin:metering_quarantined_changelist")
    assert "RaiseException" in admin_client.get(url, {"group": group.slug}).text

    post(admin_client, reverse("admin:metering_quarantined_claim", args=[group.slug]), {})
    reattribution.work_through_claims()

    assert not Quarantined.objects.exists()
    row = Transaction.objects.get(transaction_id="evil")
    assert (row.quarantine_reason, row.status, row.response_bytes) == (
        QuarantineReason.POISON,
        201,
        7,
    )
    assert row.metadata == {"a": 1}
    assert no_differences()


def test_what_is_poison_still_comes_back_named_and_holds_up_no_claim(
    credential, gateway, admin_client
):
    quarantine_poison(gateway, poison())
    accept_calls(gateway, [factories.a_call("a-key-of-later")])
    process_waiting_deliveries()
    (group,) = groups.find_groups(reason=QuarantineReason.POISON)

    with evil(EVILS["exits"], "metering_transaction"):
        post(admin_client, reverse("admin:metering_quarantined_claim", args=[group.slug]), {})
        credentials.add_alias(credential=credential, alias="a-key-of-later", by=None)
        for _ in range(reattribution.MAX_SINGLE_CLAIM_ATTEMPTS):
            reattribution.work_through_claims()

    assert Quarantined.objects.get().error == "AdminShutdown"
    assert Transaction.objects.count() == 1
    assert not Claim.objects.open().exists()


def test_a_claim_quarantines_poison_and_goes_on(gateway):
    """It waited for its credential like any other, and turns out to be poison only then."""
    later = "a-key-of-later"
    calls = [factories.a_call(later) for _ in range(50)]
    factories.settled(
        *calls[:25],
        factories.a_call(later, transaction_id="evil"),
        *calls[25:],
        gateway=gateway,
    )
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer)

    with evil(EVILS["raises"], "metering_transaction"):
        factories.a_credential(customer, later, subscriptions=[subscription])
        reattribution.work_through_claims()

    assert names() == {call.transaction_id for call in calls}
    waiting = Quarantined.objects.get()
    assert (waiting.reason, waiting.error) == (QuarantineReason.POISON, "RaiseException")
    assert not Claim.objects.open().exists()
    assert no_differences()


def test_a_lost_connection_alone_makes_nothing_poison(gateway):
    later = "a-key-of-later"
    factories.settled(factories.a_call(later, transaction_id="evil"), gateway=gateway)
    customer = factories.a_customer()
    factories.a_credential(customer, later, subscriptions=[factories.a_subscription(customer)])

    with evil(EVILS["exits"], "metering_transaction"):
        for _ in range(reattribution.MAX_SINGLE_CLAIM_ATTEMPTS // 2):
            reattribution.work_through_claims()
    assert Quarantined.objects.get().error == ""
    reattribution.work_through_claims()

    assert names() == {"evil"}
    assert Claim.objects.values_list("attempts", flat=True).distinct().get() == 0


def test_a_claim_that_kills_its_process_ends_in_the_end(gateway):
    later = "a-key-of-later"
    factories.settled(factories.a_call(later), gateway=gateway)
    factories.a_credential(factories.a_customer(), later)
    Claim.objects.update(
        attempts=reattribution.MAX_SINGLE_CLAIM_ATTEMPTS
    )  # nobody came back from any of them

    reattribution.work_through_claims()

    assert Quarantined.objects.get().error == "ProcessLost"
    assert not Claim.objects.open().exists()


def test_a_broken_connection_is_opened_before_processing(credential, gateway):
    accept_calls(gateway, healthy(3))
    with suppress(OperationalError), owner_cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    assert process_waiting_deliveries() == 1


def test_the_clock_retries_what_failed(credential, gateway):
    with evil(EVILS["raises"], "metering_transaction"):
        accept_calls(gateway, [poison()])
        process_waiting_deliveries()
    cautious_mode._until = cautious_mode._next_check_at = 0.0
    Delivery.objects.update(next_try_at=timezone.now() - timedelta(seconds=5))

    sweep_waiting_work()

    assert Transaction.objects.count() == 1
