"""Group commit: deliveries that wait share a commit, and each learns its own outcome."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from uuid import UUID

import psycopg
import pytest
from django.db import OperationalError, connection

from metering.inbox import group_commit
from metering.inbox.group_commit import (
    MAX_TRANSACTIONS_PER_JOINED_ROW,
    DeliveryRow,
    GroupCommit,
    commit_each_row,
    commit_joined,
    commit_rows,
    time_ordered_id,
)
from metering.models import Delivery
from revcred.postgresql import abandon_waiting, database_deadline
from revcred.postgresql.deadlines import OPEN_BREAKER_WAIT_SECONDS, DeadlineConnection
from tests import factories
from tests.owner import owner_cursor

BAD = "[\0]"  # which PostgreSQL does not take


def an_entry(body="[]"):
    return DeliveryRow(1, 1, 0, body)


def test_ids_are_in_the_order_of_time_and_leave_room():
    ids = [time_ordered_id() for _ in range(100)]
    ms = [each >> 80 for each in ids]

    assert ms == sorted(ms)
    assert {UUID(int=each + 999).version for each in ids} == {7}
    assert {UUID(int=each + 999).variant for each in ids} == {UUID(int=ids[0]).variant}
    assert len(set(ids)) == 100


@pytest.mark.django_db
def test_a_row_inserted_twice_is_there_once():
    entry = an_entry()

    commit_rows([entry, an_entry()])
    commit_rows([entry])

    assert Delivery.objects.count() == 2
    assert Delivery.objects.filter(pk=entry.id).exists()


@pytest.mark.django_db(transaction=True)
def test_a_bad_row_spoils_no_other():
    outcomes = commit_each_row([an_entry(), an_entry(BAD), an_entry()])

    assert [error is None for error in outcomes] == [True, False, True]
    assert Delivery.objects.count() == 2


def a_post(gateway, *names, rejected=0):
    return DeliveryRow(gateway, len(names), rejected, json.dumps(names), passed_over=rejected)


@pytest.mark.django_db
def test_small_posts_of_a_gateway_are_stored_as_one():
    posts = [
        *(a_post(1, "a"), a_post(2, "b"), a_post(1, rejected=1), a_post(1, "c", "d", rejected=2)),
        a_post(1, *map(str, range(MAX_TRANSACTIONS_PER_JOINED_ROW))),
    ]

    stored_in = commit_joined(posts)

    first, second, large = posts[0].id, posts[1].id, posts[4].id
    assert stored_in == [first, second, first, first, large]
    stored = {row.pk: row for row in Delivery.objects.all()}
    assert stored.keys() == {first, second, large}
    assert json.loads(stored[first].body) == ["a", "c", "d"]
    row = stored[first]
    assert (row.gateway_id, row.transactions, row.rejected, row.passed_over) == (1, 3, 3, 3)
    assert (stored[second].gateway_id, json.loads(stored[second].body)) == (2, ["b"])


@pytest.mark.django_db(transaction=True)
def test_a_bad_post_spoils_none_that_would_be_stored_with_it():
    good, bad, other = an_entry(), an_entry(BAD), an_entry()

    stored_in = commit_joined([good, bad, other])

    assert [stored_in[0], stored_in[2]] == [good.id, other.id]
    assert isinstance(stored_in[1], Exception)
    assert Delivery.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_an_ended_connection_is_opened_again():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with ThreadPoolExecutor(1) as other:
        other.submit(_end, pid).result()

    commit_rows([an_entry()])

    assert Delivery.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_waiting_rows_share_one_commit(monkeypatch):
    together, written, first_is_in = GroupCommit(), [], threading.Event()

    def slowly(entries):
        written.append(len(entries))
        first_is_in.set()
        if len(written) == 1:
            # Until all the others wait.
            while len(together._waiting) < 5:
                threading.Event().wait(0.005)
        return commit_each_row(entries)

    monkeypatch.setattr(group_commit, "commit_each_row", slowly)
    with ThreadPoolExecutor(6) as threads:
        kept = [threads.submit(_keep, together)]
        first_is_in.wait()
        kept += [threads.submit(_keep, together) for _ in range(5)]
        assert [each.result() for each in kept] == [None] * 6

    assert written == [1, 5]
    assert Delivery.objects.count() == 6


@pytest.mark.django_db(transaction=True)
def test_no_row_is_reported_committed_that_is_not(monkeypatch):
    together = GroupCommit()
    monkeypatch.setattr(DeliveryRow, "statement", "SELECT 1 FROM nowhere -- %b %b %b %b %b")

    with ThreadPoolExecutor(4) as threads:
        outcomes = [threads.submit(_keep, together) for _ in range(4)]

    assert all(each.exception() for each in outcomes)
    assert Delivery.objects.count() == 0


@pytest.mark.django_db
def test_a_thread_whose_deadline_has_come_stops_waiting():
    together = GroupCommit()
    together._is_committing = True  # in a thread that never comes back

    with database_deadline(0.05), pytest.raises(OperationalError):
        together.commit(an_entry())

    assert together._waiting == []


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_takes_too_long_for_this_thread_ends():
    with pytest.raises(OperationalError), database_deadline(0.1), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(1)")

    connection.close()
    assert factories.a_gateway().pk


@pytest.mark.django_db(transaction=True)
def test_an_open_breaker_shortens_waits_until_the_database_answers():
    _wait_in_vain(0.1)
    began = monotonic()
    _wait_in_vain(30)
    assert monotonic() - began < 5
    connection.close()

    with database_deadline(30), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    with database_deadline(30), owner_cursor() as cursor:
        cursor.execute("SELECT pg_sleep(2 * %s)", [OPEN_BREAKER_WAIT_SECONDS])
    _end_sleeping_statements()


def _end_sleeping_statements():
    """The server goes on with what nobody waits for any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE '%pg_sleep(20)'"
        )


@pytest.mark.django_db(transaction=True)
def test_who_waits_with_a_deadline_can_be_let_go():
    told = []

    def wait():
        try:
            with database_deadline(60), connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(20)")
        except OperationalError as error:
            told.append(error)
        finally:
            connection.close()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not told:
        abandon_waiting()
        threading.Event().wait(0.05)
    waiting.join()

    _end_sleeping_statements()  # who did not wait is not concerned


def _wait_in_vain(seconds):
    connection.close()
    with pytest.raises(OperationalError), database_deadline(seconds), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(20)")


def test_a_silent_server_is_given_up_at_the_deadline():
    began = monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent, database_deadline(0.2):
        host, port = silent.getsockname()
        with pytest.raises(psycopg.OperationalError):
            DeadlineConnection.connect(host=host, port=port, connect_timeout=2)

    assert monotonic() - began < 1


def _keep(together):
    try:
        together.commit(an_entry())
    finally:
        connection.close()


def _end(pid):
    with owner_cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    connection.close()
