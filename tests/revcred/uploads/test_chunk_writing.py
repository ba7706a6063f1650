"""Two writers of a list: what they do at the same time changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident

import pytest
from django.db import connection

from revcred.models import Upload
from revcred.uploads import actions, applying, chunk_writing
from revcred.uploads.chunk_writing import ChunkWriter
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.revcred.uploads.conftest import problems, rows, worked

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture(autouse=True)
def _chunks_of_two_rows(monkeypatch):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 2)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 2)


def a_list_of(count):
    return rows(
        "customer,name,key", *(f"acme,Number {each},key-number-{each}" for each in range(count))
    )


def test_writers_take_turns_and_each_plans_while_the_other_writes(applied, acme, monkeypatch):
    events = []
    begin, write = ChunkWriter._begin, ChunkWriter._write_planned

    def noted(name, method):
        def call(self, chunk):
            events.append((name, chunk.after, get_ident()))
            return method(self, chunk)

        return call

    monkeypatch.setattr(ChunkWriter, "_begin", noted("plan", begin))
    monkeypatch.setattr(ChunkWriter, "_write_planned", noted("write", write))

    upload = applied(a_list_of(11))

    assert upload.outcome == {"create": 11, "meanwhile": 0}
    written = [(after, thread) for name, after, thread in events if name == "write"]
    assert [after for after, _ in written] == sorted(after for after, _ in written)
    # By turns: each thread writes every other chunk, and none of them is the worker's own.
    threads = [thread for _, thread in written]
    assert threads == [threads[0], threads[1]] * 3
    assert get_ident() not in threads
    # Each was planned once, so what was planned ahead was written as it was.
    planned = [(after, thread) for name, after, thread in events if name == "plan"]
    assert sorted(planned) == sorted(written)


def test_what_others_write_meanwhile_concerns_its_rows_only(uploaded, acme, monkeypatch):
    """A key that somebody takes after its row was planned ahead, and before it is written."""
    monkeypatch.setattr(chunk_writing, "CHUNK_RETRY_PAUSE_SECONDS", 0)
    upload = uploaded(a_list_of(9))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    write = ChunkWriter._write_planned
    taken = []

    def write_after_others(self, chunk):
        if chunk.after == 7 and not taken:
            with ThreadPoolExecutor(1) as other:
                taken.append(other.submit(issue_elsewhere, acme, "key-number-7").result())
        write(self, chunk)

    monkeypatch.setattr(ChunkWriter, "_write_planned", write_after_others)
    worked(upload)

    assert (upload.state, upload.outcome) == ("applied", {"create": 8, "meanwhile": 1})
    assert [row for row, _, _ in problems(upload)] == [9]


def test_a_killed_worker_s_writers_are_waited_for(uploaded, acme):
    upload = uploaded(a_list_of(3))
    lock = [chunk_writing.WRITERS_LOCK_CLASS, upload.pk]
    released = Event()

    def write_for_a_killed_worker(is_writing):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", lock)
            is_writing.set()
            released.wait(10)
            Upload.objects.filter(pk=upload.pk).update(after=3, done=2)
        connection.close()

    is_writing = Event()
    with ThreadPoolExecutor(2) as threads:
        killed = threads.submit(write_for_a_killed_worker, is_writing)
        is_writing.wait(10)
        actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
        next_worker = threads.submit(work_in_thread)
        while not somebody_waits_for_a_lock():
            assert not next_worker.done()
        released.set()
        killed.result()
        next_worker.result()
    upload.refresh_from_db()

    assert (upload.state, upload.outcome) == ("applied", {"create": 1, "meanwhile": 0})


def issue_elsewhere(customer, key):
    """By a connection of this thread, whose transaction is its own."""
    credential = factories.a_credential(customer, key, name="Taken")
    connection.close()
    return credential


def work_in_thread():
    process_waiting_uploads()
    connection.close()


def somebody_waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone()[0]
