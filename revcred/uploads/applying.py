"""Apply: chunk by chunk, each judged once more under lock and written in one transaction.

A chunk, what it changed and how far the upload has come are committed together: whatever is
killed, whole chunks are left, and the next worker goes on behind the last of them. All or nothing
does not mean one transaction, which would hold its locks for minutes; all rows are judged anew
before the first is written, and if one is overtaken later, what was done is undone.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import psycopg
from django.db import Error, connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from revcred.models import Upload
from revcred.uploads import events, rights, staging
from revcred.uploads.columns import ListKind
from revcred.uploads.opening import (
    ProgressCallback,
    applicable_rows,
    count_also_created,
    long_statement_cursor,
    mapped_columns,
    open_upload,
    plan_arguments,
    stop_if_asked,
)
from revcred.uploads.plans import LIST_PLANS
from revcred.uploads.plans.plan import CHANGED_SINCE_CHECK_CODE, CHUNK_TABLE, SEALED_TABLE, ListPlan
from revcred.uploads.reading import UnreadableFile
from revcred.uploads.sealing import ChunkSealer, SealedRow, SealTarget

FEWEST, MOST = 500, 4_000  # rows of a chunk
CHUNK_TARGET_SECONDS = 0.3  # seconds that its transaction, and so its locks, should last
MAX_CHUNK_ATTEMPTS = 5  # of a chunk that somebody else was in the way of
CHUNK_RETRY_PAUSE_SECONDS = 0.2  # seconds before the next

# No chunk is worth reading a table for, whatever its statistics say while it is being filled;
# and planning anew would cost each chunk a tenth of its time.
CHUNK_PLANNER_SETTINGS = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off;
SET LOCAL plan_cache_mode = force_generic_plan;
"""


class ChangedSinceCheck(Exception):
    """All or nothing was asked for, and something has been changed since it was checked."""


@dataclass(frozen=True)
class RowChunk:
    """The rows that change something, after one and up to another; and what is sealed of them."""

    after: int
    until: int
    count: int
    sealed: "Future[list[SealedRow]] | None"


def apply_chunks(upload: Upload, *, tell: ProgressCallback) -> None:
    """Go on behind what has been applied already.

    Raises ChangedSinceCheck, Cancelled, UnreadableFile, FileChanged, NotAllowed; what was done
    until then stays.
    """
    if "effects" not in upload.preview:
        raise UnreadableFile("It was checked by an earlier version. Upload the list again.")
    rights.require_rights_to_apply(upload)
    merge = LIST_PLANS[ListKind(upload.kind)]
    _create_chunk_tables(upload, merge)
    _prepare_statements(upload, merge)
    if not upload.after:
        if upload.whole:
            _check_nothing_changed(upload, merge)
        _create_named_things(upload, merge)
    with ExitStack() as stack:
        sealing = stack.enter_context(_Sealing(upload)) if merge.seals else None
        size = FEWEST
        ahead = _next_chunk(upload, sealing, after=upload.after, most=size)
        while chunk := ahead:
            ahead = _next_chunk(upload, sealing, after=chunk.until, most=size)
            began = time.monotonic()
            _apply_with_retries(upload, merge, chunk)
            size = _next_chunk_size(size, chunk.count, time.monotonic() - began)
            tell(upload)
            stop_if_asked(upload)


def _next_chunk_size(size: int, count: int, seconds: float) -> int:
    """How many rows fit the time that a chunk should take; not more than twice as many at once."""
    fitting = int(count * CHUNK_TARGET_SECONDS / max(seconds, 0.001))
    return max(FEWEST, min(MOST, 2 * size, fitting))


# --- Before the first chunk -----------------------------------------------------------------------


def _create_chunk_tables(upload: Upload, merge: ListPlan) -> None:
    """Temporary ones of this connection, emptied by every commit."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {CHUNK_TABLE}, {SEALED_TABLE}")
        cursor.execute(
            f"CREATE TEMPORARY TABLE {CHUNK_TABLE} ON COMMIT DELETE ROWS AS "
            f"{_replan_query(merge, applicable_rows(upload))} WITH NO DATA",
            plan_arguments(upload, at=_time_applied(upload)),
        )
        cursor.execute(
            f"""
            CREATE TEMPORARY TABLE {SEALED_TABLE} (
                number bigint, fingerprint uuid, hint text, value bytea, secret bytea
            ) ON COMMIT DELETE ROWS
            """
        )


def _prepare_statements(upload: Upload, merge: ListPlan) -> None:
    """All that a chunk asks, under names of this connection."""
    of_chunk = applicable_rows(upload, "number > $1 AND number <= $2")
    statements = {
        "lock (bigint, bigint)": merge.lock.format(source=of_chunk),
        "judge (bigint, bigint)": f"INSERT INTO {CHUNK_TABLE} {_replan_query(merge, of_chunk)}",
        "since": merge.since,
        "count": f"SELECT action, count(*) FROM {CHUNK_TABLE} GROUP BY action",
    } | {f"write_{number}": each for number, each in enumerate(merge.write)}
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
        for name, statement in statements.items():
            cursor.execute(
                f"PREPARE {name} AS {statement}", plan_arguments(upload, at=_time_applied(upload))
            )


def _time_applied(upload: Upload) -> datetime:
    assert upload.applied_at
    return upload.applied_at


def _check_nothing_changed(upload: Upload, merge: ListPlan) -> None:
    """Raises ChangedSinceCheck if any row would do something else now than when it was checked."""
    judged = _replan_query(merge, applicable_rows(upload))
    with long_statement_cursor() as cursor:
        cursor.execute(
            f"SELECT number FROM ({judged}) judged WHERE NOT is_same LIMIT 1",
            plan_arguments(upload, at=_time_applied(upload)),
        )
        if found := cursor.fetchone():
            raise ChangedSinceCheck(found[0])


def _create_named_things(upload: Upload, merge: ListPlan) -> None:
    """What rows name and is not there yet: added once, before any of them."""
    with long_statement_cursor() as cursor:
        rights.require_rights_to_apply(upload, adds=count_also_created(cursor, upload))
        for statement in merge.prepare:
            cursor.execute(
                statement.format(source=applicable_rows(upload)),
                plan_arguments(upload, at=_time_applied(upload)),
            )


# --- A chunk --------------------------------------------------------------------------------------


def _next_chunk(
    upload: Upload, sealing: "_Sealing | None", *, after: int, most: int
) -> RowChunk | None:
    """The next rows; what is to be sealed of them is begun with."""
    merge = LIST_PLANS[ListKind(upload.kind)]
    named = "number, key_id, new_key_id, is_new, fingerprint" if merge.seals else "number"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {named} FROM {staging.staging_table(upload.pk)} "
            "WHERE number > %s AND action IN ('create', 'update', 'move') ORDER BY number LIMIT %s",
            [after, most],
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    return RowChunk(after, rows[-1][0], len(rows), sealing.begin(rows) if sealing else None)


class _Sealing:
    """Seals the next chunk while PostgreSQL is busy with the one before."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        read = self._stack.enter_context(open_upload(self._upload))
        self._sealer = ChunkSealer(read.rows, mapped_columns(self._upload))
        self._thread = self._stack.enter_context(ThreadPoolExecutor(1, "sealing"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, rows: list[tuple[Any, ...]]) -> "Future[list[SealedRow]]":
        places = [
            SealTarget(number, new_key if is_new else key, is_new, mark and mark.hex)
            for number, key, new_key, is_new, mark in rows
        ]
        return self._thread.submit(self._sealer.seal, places)


def _apply_with_retries(upload: Upload, merge: ListPlan, chunk: RowChunk) -> None:
    """Somebody who was quicker, or in the way, is seen the next time: the chunk is judged again."""
    for tries_left in reversed(range(MAX_CHUNK_ATTEMPTS)):
        try:
            _apply_chunk(upload, merge, chunk)
        except Error as error:
            if not tries_left or not _is_contention(error):
                raise
            upload.refresh_from_db()
            time.sleep(CHUNK_RETRY_PAUSE_SECONDS)
        else:
            return


CHUNK_CONTENTION_ERRORS = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ExclusionViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
)


def _is_contention(error: Error) -> bool:
    return isinstance(error.__cause__, CHUNK_CONTENTION_ERRORS)


@atomic
def _apply_chunk(upload: Upload, merge: ListPlan, chunk: RowChunk) -> None:
    rights.require_rights_to_apply(upload)  # as they are now, and no more than the preview counted
    with connection.cursor() as cursor:
        # Few round trips: after each one this thread waits until the one that seals lets it go on.
        judging = "EXECUTE lock (%(after)s, %(until)s); EXECUTE judge (%(after)s, %(until)s)"
        cursor.execute(
            CHUNK_PLANNER_SETTINGS + judging, {"after": chunk.after, "until": chunk.until}
        )
        overtaken = _reject_changed_rows(cursor, upload)
        if overtaken and upload.whole:
            raise ChangedSinceCheck
        if chunk.sealed:
            _copy_sealed_rows(cursor, chunk.sealed.result())
        before = events.latest_change_id(cursor, upload)
        cursor.execute("; ".join(f"EXECUTE write_{number}" for number in range(len(merge.write))))
        cursor.execute("EXECUTE since")
        since = [each for each in (upload.since, *cursor.fetchone()) if each]
        cursor.execute("EXECUTE count")
        outcome = upload.outcome.copy()
        for action, count in (*cursor.fetchall(), ("meanwhile", overtaken)):
            outcome[action] = outcome.get(action, 0) + count
    upload.outcome, upload.since = outcome, min(since, default=None)
    upload.after, upload.done = chunk.until, upload.done + chunk.count
    upload.fraction = upload.done / max(upload.to_do or 0, upload.done)
    upload.save(update_fields=["outcome", "since", "after", "done", "fraction"])
    with connection.cursor() as cursor:  # last, since others wait for the chain's end from here on
        events.record_events_of_applying(cursor, upload, after=before)


def _replan_query(merge: ListPlan, source: str) -> str:
    """What these rows would do now, and whether that is what was found when they were checked.

    They may do less by now: who became a member by an earlier row does so no more.
    """
    return f"""
        SELECT
            judged.*, NULL::jsonb AS links, NULL::bytea AS old_secret,
            (action, was) IS NOT DISTINCT FROM (known_action, known_was)
                AND effects <@ known_effects AS is_same
        FROM ({merge.judged.format(source=source)}) judged
    """


def _reject_changed_rows(cursor: CursorWrapper, upload: Upload) -> int:
    """Refuse the rows of the chunk that would do something else now; how many those are."""
    cursor.execute(
        f"""
        WITH overtaken AS (
            DELETE FROM {CHUNK_TABLE} WHERE NOT is_same RETURNING number, refusals
        )
        UPDATE {staging.staging_table(upload.pk)} row
        SET action = 'refused',
            refusals = array_append(overtaken.refusals, '{CHANGED_SINCE_CHECK_CODE}')
        FROM overtaken WHERE row.number = overtaken.number
        """
    )
    overtaken: int = cursor.rowcount
    return overtaken


def _copy_sealed_rows(cursor: CursorWrapper, sealed: list[SealedRow]) -> None:
    with cursor.copy(f"COPY {SEALED_TABLE} FROM STDIN") as copy:
        for row in sealed:
            copy.write_row(row)
