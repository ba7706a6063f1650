"""Apply an upload chunk by chunk: plan each chunk again under lock, and write it.

A chunk, its changes and the progress of the upload are committed together. Whatever is killed,
only whole chunks remain, and the next worker continues after the last one.

"All or nothing" is not one transaction, which would hold its locks for minutes. Instead, all rows
are planned again before the first is written; if one changes later, the upload undoes itself.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
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
    create_named_things,
    prepare_chunk_statements,
    replan_query,
    time_applied,
)
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
from revcred.uploads.steps import UploadStep, begin_step

# Fewer rows cost more: on a busy machine chunks would shrink to 500 rows, which takes a fifth more
# CPU a row than 2,000.
MIN_ROWS_PER_CHUNK = 1_000
MAX_ROWS_PER_CHUNK = 4_000
CHUNK_TARGET_SECONDS = 0.3  # of a transaction: others wait that long for its locks
MAX_CHUNK_ATTEMPTS = 5  # if others hold its locks, or write the same keys
CHUNK_RETRY_PAUSE_SECONDS = 0.2
SEALED_COLUMNS = (
    "number, key_id, new_key_id, is_new, fingerprint, new_alias_fingerprints, new_alias_ids"
)
SET_PLANNER = "".join(
    f"SET LOCAL {name} = {value}; " for name, value in CHUNK_PLANNER_SETTINGS.items()
)


class ChangedSinceCheck(Exception):
    """A row of an all-or-nothing upload would do something else now than when it was checked."""


@dataclass(frozen=True)
class RowChunk:
    """Rows that change something, by number: greater than `after`, up to and including `until`.

    `sealed` gives their sealed keys and secrets, or is None for kinds of lists without keys.
    """

    after: int
    until: int
    count: int
    sealed: "Future[list[SealedRow]] | None"


def apply_chunks(upload: Upload, *, on_progress: ProgressCallback) -> None:
    """Apply the upload, starting after the rows that have been applied already.

    Raises ChangedSinceCheck, UploadCancelled, UnreadableFile, FileChanged, NotAllowed; chunks that
    were written by then stay.
    """
    # Previews of earlier versions do not count effects, so nobody can tell which rights it takes.
    kind = ListKind(upload.kind)
    if "effects" not in upload.preview or staging.missing_staged_columns(upload.pk, kind):
        raise UnreadableFile("It was checked by an earlier version. Upload the list again.")
    rights.require_rights_to_apply(upload)
    plan = LIST_PLANS[kind]
    create_chunk_tables(upload, plan)
    prepare_chunk_statements(upload, plan)
    if not upload.after:
        if upload.all_or_nothing:
            begin_step(upload, UploadStep.VERIFYING)
            _check_nothing_changed(upload, plan)
        begin_step(upload, UploadStep.CREATING)
        _create_permitted_things(upload, plan)
    begin_step(upload, UploadStep.WRITING)
    with ExitStack() as stack:
        sealing = stack.enter_context(_BackgroundSealing(upload)) if plan.seals_keys else None
        size, renewal = MIN_ROWS_PER_CHUNK, PlanRenewal()
        ahead = _next_chunk(upload, sealing, after=upload.after, most=size)
        while chunk := ahead:
            # The next chunk is sealed by another thread while this one is written.
            ahead = _next_chunk(upload, sealing, after=chunk.until, most=size)
            began = time.monotonic()
            _apply_with_retries(upload, plan, chunk)
            renewal.after_chunk(chunk.count)
            size = _next_chunk_size(size, chunk.count, time.monotonic() - began)
            on_progress(upload)
            stop_if_asked(upload)


def _next_chunk_size(size: int, count: int, seconds: float) -> int:
    """Return the number of rows that fit the target time, at most twice the last size."""
    fitting = int(count * CHUNK_TARGET_SECONDS / max(seconds, 0.001))
    return max(MIN_ROWS_PER_CHUNK, min(MAX_ROWS_PER_CHUNK, 2 * size, fitting))


# --- Before the first chunk -----------------------------------------------------------------------


def _check_nothing_changed(upload: Upload, plan: ListPlan) -> None:
    """Raises ChangedSinceCheck if any row would do something else now than when it was checked."""
    query = replan_query(plan, applicable_rows(upload))
    with long_statement_cursor() as cursor:
        cursor.execute(
            f"SELECT number FROM ({query}) replanned WHERE NOT is_same LIMIT 1",
            plan_arguments(upload, at=time_applied(upload)),
        )
        if found := cursor.fetchone():
            raise ChangedSinceCheck(found[0])


def _create_permitted_things(upload: Upload, plan: ListPlan) -> None:
    """Create the things that rows name. Raises NotAllowed."""
    with long_statement_cursor() as cursor:
        # Counted again: things may have been deleted since the preview, and more be created now.
        rights.require_rights_to_apply(upload, also_created=count_also_created(cursor, upload))
        create_named_things(cursor, upload, plan)


# --- A chunk --------------------------------------------------------------------------------------


def _next_chunk(
    upload: Upload, sealing: "_BackgroundSealing | None", *, after: int, most: int
) -> RowChunk | None:
    """Return the next `most` rows, and start to seal their keys. None after the last row."""
    plan = LIST_PLANS[ListKind(upload.kind)]
    names = SEALED_COLUMNS if plan.seals_keys else "number"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {names} FROM {staging.staging_table(upload.pk)} "
            "WHERE number > %s AND action IN ('create', 'update', 'move') ORDER BY number LIMIT %s",
            [after, most],
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    return RowChunk(after, rows[-1][0], len(rows), sealing.begin(rows) if sealing else None)


class _BackgroundSealing:
    """A thread that seals the keys of the next chunk while PostgreSQL writes the one before.

    It reads the file from its beginning, in step with the chunks.
    """

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
        targets = [
            SealTarget(
                number,
                new_key if is_new else key,
                is_new,
                fingerprint and fingerprint.hex,
                {alias.hex: number for alias, number in zip(aliases or (), ids or (), strict=True)},
            )
            for number, key, new_key, is_new, fingerprint, aliases, ids in rows
        ]
        return self._thread.submit(self._sealer.seal, targets)


def _apply_with_retries(upload: Upload, plan: ListPlan, chunk: RowChunk) -> None:
    """Apply the chunk; if another transaction interferes, wait and plan it again.

    The next attempt sees what the other transaction wrote, and rejects the rows that it concerns.
    """
    for tries_left in reversed(range(MAX_CHUNK_ATTEMPTS)):
        try:
            _apply_chunk(upload, plan, chunk)
        except Error as error:
            if not tries_left or not _is_contention(error):
                raise
            # The rollback undid the row, not the object in memory: load it again.
            upload.refresh_from_db()
            time.sleep(CHUNK_RETRY_PAUSE_SECONDS)
        else:
            return


# Errors that mean: another transaction committed, or holds, what this one needs.
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
def _apply_chunk(upload: Upload, plan: ListPlan, chunk: RowChunk) -> None:
    # Asked for each chunk: rights that are withdrawn meanwhile stop the upload within a second.
    rights.require_rights_to_apply(upload)
    with connection.cursor() as cursor:
        # Few round trips, because the sealing thread holds the interpreter's lock after each one.
        cursor.execute(SET_PLANNER + LOCK_AND_PLAN, {"after": chunk.after, "until": chunk.until})
        rejected = _reject_changed_rows(cursor, upload)
        if rejected and upload.all_or_nothing:
            raise ChangedSinceCheck
        if chunk.sealed:
            _copy_sealed_rows(cursor, chunk.sealed.result())
        before = events.latest_change_id(cursor, upload)
        cursor.execute("; ".join(f"EXECUTE write_{number}" for number in range(len(plan.write))))
        cursor.execute("EXECUTE since")
        since = [each for each in (upload.since, *cursor.fetchone()) if each]
        cursor.execute("EXECUTE count")
        outcome = upload.outcome.copy()
        for action, count in (*cursor.fetchall(), ("meanwhile", rejected)):
            outcome[action] = outcome.get(action, 0) + count
    upload.outcome, upload.since = outcome, min(since, default=None)
    upload.after, upload.done = chunk.until, upload.done + chunk.count
    upload.fraction = upload.done / max(upload.to_do or 0, upload.done)
    upload.save(update_fields=["outcome", "since", "after", "done", "fraction"])
    # Recording events locks the end of the audit's chain until the commit. It comes last, so that
    # everybody else who records something waits as briefly as possible.
    with connection.cursor() as cursor:
        events.record_events_of_applying(cursor, upload, after=before)


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
