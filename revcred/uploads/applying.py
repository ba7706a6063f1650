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
from revcred.uploads.columns import Kind
from revcred.uploads.opening import (
    Tell,
    applicable,
    arguments,
    count_added,
    mapped_of,
    open_upload,
    patient_cursor,
    stop_if_asked,
)
from revcred.uploads.plans import MERGES
from revcred.uploads.plans.plan import CHUNK, MEANWHILE, SEALED, Merge
from revcred.uploads.reading import UnreadableFile
from revcred.uploads.sealing import Place, Sealed, Sealer

FEWEST, MOST = 500, 4_000  # rows of a chunk
AIM = 0.3  # seconds that its transaction, and so its locks, should last
TRIES = 5  # of a chunk that somebody else was in the way of
PAUSE = 0.2  # seconds before the next

# No chunk is worth reading a table for, whatever its statistics say while it is being filled;
# and planning anew would cost each chunk a tenth of its time.
BY_INDEX = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off;
SET LOCAL plan_cache_mode = force_generic_plan;
"""


class Overtaken(Exception):
    """All or nothing was asked for, and something has been changed since it was checked."""


@dataclass(frozen=True)
class Chunk:
    """The rows that change something, after one and up to another; and what is sealed of them."""

    after: int
    until: int
    count: int
    sealed: "Future[list[Sealed]] | None"


def apply(upload: Upload, *, tell: Tell) -> None:
    """Go on behind what has been applied already.

    Raises Overtaken, Cancelled, UnreadableFile, FileChanged, NotAllowed; what was done until then
    stays.
    """
    if "effects" not in upload.preview:
        raise UnreadableFile("It was checked by an earlier version. Upload the list again.")
    rights.demand_to_apply(upload)
    merge = MERGES[Kind(upload.kind)]
    _tables(upload, merge)
    _prepare_statements(upload, merge)
    if not upload.after:
        if upload.whole:
            _refuse_overtaken(upload, merge)
        _add_what_is_named(upload, merge)
    with ExitStack() as stack:
        sealing = stack.enter_context(_Sealing(upload)) if merge.seals else None
        size = FEWEST
        ahead = _next(upload, sealing, after=upload.after, most=size)
        while chunk := ahead:
            ahead = _next(upload, sealing, after=chunk.until, most=size)
            began = time.monotonic()
            _apply_patiently(upload, merge, chunk)
            size = _better(size, chunk.count, time.monotonic() - began)
            tell(upload)
            stop_if_asked(upload)


def _better(size: int, count: int, seconds: float) -> int:
    """How many rows fit the time that a chunk should take; not more than twice as many at once."""
    fitting = int(count * AIM / max(seconds, 0.001))
    return max(FEWEST, min(MOST, 2 * size, fitting))


# --- Before the first chunk -----------------------------------------------------------------------


def _tables(upload: Upload, merge: Merge) -> None:
    """Temporary ones of this connection, emptied by every commit."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {CHUNK}, {SEALED}")
        cursor.execute(
            f"CREATE TEMPORARY TABLE {CHUNK} ON COMMIT DELETE ROWS AS "
            f"{_judged_again(merge, applicable(upload))} WITH NO DATA",
            arguments(upload, at=_at(upload)),
        )
        cursor.execute(
            f"""
            CREATE TEMPORARY TABLE {SEALED} (
                number bigint, fingerprint uuid, hint text, value bytea, secret bytea
            ) ON COMMIT DELETE ROWS
            """
        )


def _prepare_statements(upload: Upload, merge: Merge) -> None:
    """All that a chunk asks, under names of this connection."""
    of_chunk = applicable(upload, "number > $1 AND number <= $2")
    statements = {
        "lock (bigint, bigint)": merge.lock.format(source=of_chunk),
        "judge (bigint, bigint)": f"INSERT INTO {CHUNK} {_judged_again(merge, of_chunk)}",
        "since": merge.since,
        "count": f"SELECT action, count(*) FROM {CHUNK} GROUP BY action",
    } | {f"write_{number}": each for number, each in enumerate(merge.write)}
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
        for name, statement in statements.items():
            cursor.execute(f"PREPARE {name} AS {statement}", arguments(upload, at=_at(upload)))


def _at(upload: Upload) -> datetime:
    assert upload.applied_at
    return upload.applied_at


def _refuse_overtaken(upload: Upload, merge: Merge) -> None:
    """Raises Overtaken if any row would do something else now than when it was checked."""
    judged = _judged_again(merge, applicable(upload))
    with patient_cursor() as cursor:
        cursor.execute(
            f"SELECT number FROM ({judged}) judged WHERE NOT is_same LIMIT 1",
            arguments(upload, at=_at(upload)),
        )
        if found := cursor.fetchone():
            raise Overtaken(found[0])


def _add_what_is_named(upload: Upload, merge: Merge) -> None:
    """What rows name and is not there yet: added once, before any of them."""
    with patient_cursor() as cursor:
        rights.demand_to_apply(upload, adds=count_added(cursor, upload))
        for statement in merge.prepare:
            cursor.execute(
                statement.format(source=applicable(upload)), arguments(upload, at=_at(upload))
            )


# --- A chunk --------------------------------------------------------------------------------------


def _next(upload: Upload, sealing: "_Sealing | None", *, after: int, most: int) -> Chunk | None:
    """The next rows; what is to be sealed of them is begun with."""
    merge = MERGES[Kind(upload.kind)]
    named = "number, key_id, new_key_id, is_new, fingerprint" if merge.seals else "number"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {named} FROM {staging.table(upload.pk)} "
            "WHERE number > %s AND action IN ('create', 'update', 'move') ORDER BY number LIMIT %s",
            [after, most],
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    return Chunk(after, rows[-1][0], len(rows), sealing.begin(rows) if sealing else None)


class _Sealing:
    """Seals the next chunk while PostgreSQL is busy with the one before."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        read = self._stack.enter_context(open_upload(self._upload))
        self._sealer = Sealer(read.rows, mapped_of(self._upload))
        self._thread = self._stack.enter_context(ThreadPoolExecutor(1, "sealing"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, rows: list[tuple[Any, ...]]) -> "Future[list[Sealed]]":
        places = [
            Place(number, new_key if is_new else key, is_new, mark and mark.hex)
            for number, key, new_key, is_new, mark in rows
        ]
        return self._thread.submit(self._sealer.seal, places)


def _apply_patiently(upload: Upload, merge: Merge, chunk: Chunk) -> None:
    """Somebody who was quicker, or in the way, is seen the next time: the chunk is judged again."""
    for tries_left in reversed(range(TRIES)):
        try:
            _apply(upload, merge, chunk)
        except Error as error:
            if not tries_left or not _is_contention(error):
                raise
            upload.refresh_from_db()
            time.sleep(PAUSE)
        else:
            return


CONTENTION = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ExclusionViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
)


def _is_contention(error: Error) -> bool:
    return isinstance(error.__cause__, CONTENTION)


@atomic
def _apply(upload: Upload, merge: Merge, chunk: Chunk) -> None:
    rights.demand_to_apply(upload)  # as they are now, and no more than the preview counted
    with connection.cursor() as cursor:
        # Few round trips: after each one this thread waits until the one that seals lets it go on.
        judging = "EXECUTE lock (%(after)s, %(until)s); EXECUTE judge (%(after)s, %(until)s)"
        cursor.execute(BY_INDEX + judging, {"after": chunk.after, "until": chunk.until})
        overtaken = _put_aside(cursor, upload)
        if overtaken and upload.whole:
            raise Overtaken
        if chunk.sealed:
            _take_sealed(cursor, chunk.sealed.result())
        before = events.newest_change(cursor, upload)
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
        events.record_done(cursor, upload, after=before)


def _judged_again(merge: Merge, source: str) -> str:
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


def _put_aside(cursor: CursorWrapper, upload: Upload) -> int:
    """Refuse the rows of the chunk that would do something else now; how many those are."""
    cursor.execute(
        f"""
        WITH overtaken AS (
            DELETE FROM {CHUNK} WHERE NOT is_same RETURNING number, refusals
        )
        UPDATE {staging.table(upload.pk)} row
        SET action = 'refused', refusals = array_append(overtaken.refusals, '{MEANWHILE}')
        FROM overtaken WHERE row.number = overtaken.number
        """
    )
    overtaken: int = cursor.rowcount
    return overtaken


def _take_sealed(cursor: CursorWrapper, sealed: list[Sealed]) -> None:
    with cursor.copy(f"COPY {SEALED} FROM STDIN") as copy:
        for row in sealed:
            copy.write_row(row)
