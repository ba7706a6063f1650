"""Migrations wait shortly for a lock, often, and as long as it takes for what they do."""

from contextlib import contextmanager

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models.signals import post_migrate
from django.db.transaction import atomic

from revcred.postgresql.migration_locks import (
    LockNotObtainedError,
    migration_timeouts,
    retry_until_locked,
)
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db(transaction=True)
LOCK = "LOCK TABLE revcred_pathrule IN ACCESS EXCLUSIVE MODE"


def shown(name):
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return cursor.fetchone()[0]


@contextmanager
def somebody_reading():
    """Another session that holds the weakest lock on the path rules."""
    parameters = connection.get_connection_params()
    for name in ("context", "cursor_factory"):
        parameters.pop(name, None)
    with psycopg.connect(**parameters) as other:
        other.execute("SELECT FROM revcred_pathrule")
        yield other


def lock():
    with owner_cursor() as cursor, migration_timeouts(), atomic():
        cursor.execute("SET LOCAL lock_timeout = '50ms'")
        cursor.execute(LOCK)


def test_statements_take_as_long_as_they_take_and_locks_a_second():
    before = shown("statement_timeout"), shown("lock_timeout")

    with migration_timeouts():
        assert (shown("statement_timeout"), shown("lock_timeout")) == ("0", "1s")

    assert (shown("statement_timeout"), shown("lock_timeout")) == before


def test_a_lock_that_others_hold_is_asked_for_again_and_named():
    said = []
    with somebody_reading() as other:

        def report(message):
            said.append(message)
            other.rollback()

        retry_until_locked(lock, report, pause_seconds=0)

    assert said == [f"Others held a lock that this needs: {LOCK}. Trying again."]


def test_in_the_end_it_gives_up():
    with somebody_reading(), pytest.raises(LockNotObtainedError, match=LOCK):
        retry_until_locked(lock, print, max_wait_seconds=0, pause_seconds=0)


def test_other_failures_are_not_retried():
    def fail():
        with atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)")

    with pytest.raises(OperationalError, match="statement timeout"):
        retry_until_locked(fail, pytest.fail)


def test_migrate_has_these_limits():
    seen = []

    def look(**_):
        seen.append((shown("statement_timeout"), shown("lock_timeout")))

    post_migrate.connect(look)
    try:
        call_command("migrate", verbosity=0)
    finally:
        post_migrate.disconnect(look)

    assert set(seen) == {("0", "1s")}
