"""Write chunks of rows: each is planned under lock, and its changes and progress are committed.

Of a long list, two writers take turns, each with a connection of its own: one plans the next chunk
while the other writes. PostgreSQL has a process for each connection, so two cores work on the list.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from django.db import Error, connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from revcred.models import Upload
from revcred.uploads import events, rights, staging
from revcred.uploads.chunk_statements import (
    CHUNK_PLANNER_SETTINGS,
    LOCK_AND_PLAN,
    PlanRenewal,
    create_chunk_tables,
    prepare_chunk_statements,
)
from revcred.uploads.plans.plan import CHANGED_SINCE_CHECK_CODE, CHUNK_TABLE, SEALED_TABLE, ListPlan
from revcred.uploads.sealing import SealedRow

WRITERS_LOCK_CLASS = 0x10AE  # class of the advisory lock that the writers of an upload share
MAX_CHUNK_ATTEMPTS = 5  # if others hold its locks, or write the same keys
CHUNK_RETRY_PAUSE_SECONDS = 0.2
SET_PLANNER = "".join(
    f"SET LOCAL {name} = {value}; " for name, value in CHUNK_PLANNER_SETTINGS.items()
)
# Errors that mean: another transaction committed, or holds, what this one needs.
CHUNK_CONTENTION_ERRORS = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ExclusionViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
)


class ChangedSinceCheck(Exception):
    """A row of an all-or-nothing upload would do something else now than when it was checked."""


@dataclass(frozen=True, kw_only=True)
class RowChunk:
    """Rows that change something, by number: greater than `after`, up to and including `until`.

    `sealed` gives their sealed keys and secrets, or is None for kinds of lists without keys.
    """

    after: int
    until: int
    count: int
    only_creates: bool
    sealed: "Future[list[SealedRow]] | None"


def wait_for_killed_writers(upload: Upload) -> None:
    """Wait until PostgreSQL has ended what the writers of a killed worker had begun.

    It notices that they are gone only after the statement that it is executing for them.
    """
    lock = [WRITERS_LOCK_CLASS, upload.pk]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", lock)
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", lock)


class ChunkWriter:
    """Plans chunks of an upload, and writes them, by the connection of the thread that calls it.

    `is_alone`: no other writer works on the upload, and the connection holds the upload's lock.
    """

    def __init__(self, upload: Upload, plan: ListPlan, *, is_alone: bool) -> None:
        self._upload, self._plan = upload, plan
        self._is_alone, self._is_prepared = is_alone, False
        self._renewal = PlanRenewal()
        self._planned: ExitStack | None = None  # the open transaction of a planned chunk

    def plan_ahead(self, chunk: RowChunk) -> None:
        """Plan the chunk while the one before is written, if that can make no difference.

        Rows that only create things lock nothing, and what they are planned by changes with no
        other row of the list. If others are faster, a constraint says so.
        """
        # A connection's first plans are made again after its first chunk. Until then its tables may
        # seem empty: see `PlanRenewal`.
        if not chunk.only_creates or not self._renewal.has_begun:
            return
        try:
            self._begin(chunk)
        except Error as error:
            if not _is_contention(error):
                raise

    def write(self, chunk: RowChunk) -> None:
        """Write the chunk; if another transaction interferes, wait and plan it again.

        The next attempt sees what the other transaction wrote, and rejects the rows that it
        concerns. Raises ChangedSinceCheck, NotAllowed, FileChanged.
        """
        for tries_left in reversed(range(MAX_CHUNK_ATTEMPTS)):
            try:
                transaction = self._planned or self._begin(chunk)
                self._planned = None
                with transaction:
                    self._write_planned(chunk)
            except Error as error:
                if not tries_left or not _is_contention(error):
                    raise
                # The rollback undid the row, not the object in memory: load it again.
                self._upload.refresh_from_db()
                time.sleep(CHUNK_RETRY_PAUSE_SECONDS)
            else:
                self._renewal.after_chunk(chunk.count)
                return

    def close(self) -> None:
        """Close the connection. What has been planned and is not to be written is rolled back."""
        if self._planned:
            transaction, self._planned = self._planned, None
            with transaction:
                connection.set_rollback(True)
        connection.close()

    def _prepare(self) -> None:
        if not self._is_alone:
            # `wait_for_killed_writers` waits for this lock, which ends with the connection.
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_lock_shared(%s, %s)", [WRITERS_LOCK_CLASS, self._upload.pk]
                )
        create_chunk_tables(self._upload, self._plan)
        prepare_chunk_statements(self._upload, self._plan)
        self._is_prepared = True

    def _begin(self, chunk: RowChunk) -> ExitStack:
        """Open a transaction, and plan the chunk in it. Raises FileChanged, UnreadableFile."""
        if not self._is_prepared:
            self._prepare()
        with ExitStack() as stack:
            stack.enter_context(atomic())
            # Asked for each chunk: rights that are withdrawn meanwhile stop the upload at once.
            rights.require_rights_to_apply(self._upload)
            with connection.cursor() as cursor:
                # Few round trips, because the sealing thread holds the interpreter's lock after
                # each one.
                cursor.execute(
                    SET_PLANNER + LOCK_AND_PLAN, {"after": chunk.after, "until": chunk.until}
                )
                if chunk.sealed:
                    _copy_sealed_rows(cursor, chunk.sealed.result())
            self._planned = stack.pop_all()
        return self._planned

    def _write_planned(self, chunk: RowChunk) -> None:
        upload, plan = self._upload, self._plan
        with connection.cursor() as cursor:
            rejected = _reject_changed_rows(cursor, upload)
            if rejected and upload.all_or_nothing:
                raise ChangedSinceCheck
            before = events.latest_change_id(cursor, upload)
            cursor.execute(
                "; ".join(f"EXECUTE write_{number}" for number in range(len(plan.write)))
            )
            cursor.execute("EXECUTE since")
            since = [each for each in (upload.since, *cursor.fetchone()) if each]
            cursor.execute("EXECUTE count")
            outcome = _outcome_with(
                upload.outcome, {**dict(cursor.fetchall()), "meanwhile": rejected}
            )
        upload.outcome, upload.since = outcome, min(since, default=None)
        upload.after, upload.done = chunk.until, upload.done + chunk.count
        upload.fraction = upload.done / max(upload.to_do or 0, upload.done)
        upload.save(update_fields=["outcome", "since", "after", "done", "fraction"])
        # Recording events locks the end of the audit's chain until the commit. It comes last, so
        # that everybody else who records something waits as briefly as possible.
        with connection.cursor() as cursor:
            events.record_events_of_applying(cursor, upload, after=before)


class WriterThread:
    """A thread in which a writer works: Django has a connection for each thread."""

    def __init__(self, upload: Upload, plan: ListPlan) -> None:
        self._writer = ChunkWriter(upload, plan, is_alone=False)
        # Audit events name the request and the address that the list came from.
        self._context = copy_context()
        self._thread = ThreadPoolExecutor(1, "writing")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._start(self._writer.close)
        self._thread.shutdown()

    def plan_ahead(self, chunk: RowChunk) -> None:
        """Begin to plan the chunk. If that fails, writing it plans it again and says why."""
        self._start(self._writer.plan_ahead, chunk)

    def write(self, chunk: RowChunk) -> "Future[None]":
        return self._start(self._writer.write, chunk)

    def _start(self, call: Callable[..., None], *args: Any) -> "Future[None]":
        return self._thread.submit(self._context.run, call, *args)


def _is_contention(error: Error) -> bool:
    return isinstance(error.__cause__, CHUNK_CONTENTION_ERRORS)


def _outcome_with(outcome: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """Return the outcome so far with the counts of a chunk, by action."""
    added = dict(outcome)
    for action, count in counts.items():
        added[action] = added.get(action, 0) + count
    return added


def _reject_changed_rows(cursor: CursorWrapper, upload: Upload) -> int:
    """Reject the rows of the chunk that would do something else now. Return how many there are."""
    cursor.execute(
        f"""
        -- in: the chunk; out: rows whose thing has changed since the check, taken out of the chunk
        WITH changed AS (
            DELETE FROM {CHUNK_TABLE} WHERE NOT is_same RETURNING number, problems
        )
        UPDATE {staging.staging_table(upload.pk)} row
        SET action = 'rejected',
            problems = array_append(changed.problems, '{CHANGED_SINCE_CHECK_CODE}')
        FROM changed WHERE row.number = changed.number
        """
    )
    count: int = cursor.rowcount
    return count


def _copy_sealed_rows(cursor: CursorWrapper, sealed: list[SealedRow]) -> None:
    with cursor.copy(f"COPY {SEALED_TABLE} FROM STDIN") as copy:
        for row in sealed:
            copy.write_row(row)
