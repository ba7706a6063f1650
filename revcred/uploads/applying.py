"""Apply an upload chunk by chunk: plan each chunk again under lock, and write it.

A chunk, its changes and the progress of the upload are committed together. Whatever is killed,
only whole chunks remain, and the next worker continues after the last one.

"All or nothing" is not one transaction, which would hold its locks for minutes. Instead, all rows
are planned again before the first is written; if one changes later, the upload undoes itself.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self

from django.db import connection
from django.utils.translation import gettext_noop

from revcred.models import Upload
from revcred.uploads import rights, staging
from revcred.uploads.chunk_statements import create_named_things, replan_query, time_applied
from revcred.uploads.chunk_writing import (
    ChangedSinceCheck,
    ChunkWriter,
    RowChunk,
    WriterThread,
    wait_for_killed_writers,
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
from revcred.uploads.plans.plan import ListPlan
from revcred.uploads.reading import UnreadableFile
from revcred.uploads.sealing import ChunkSealer, SealedRow, SealTarget
from revcred.uploads.steps import UploadStep, begin_step

# Fewer rows cost more: on a busy machine chunks would shrink to 500 rows, which takes a fifth more
# CPU a row than 2,000.
MIN_ROWS_PER_CHUNK = 1_000
MAX_ROWS_PER_CHUNK = 4_000
CHUNK_TARGET_SECONDS = 0.3  # of a transaction: others wait that long for its locks
SEALED_COLUMNS = (
    "number, key_id, new_key_id, is_new, fingerprint, new_alias_fingerprints, new_alias_ids"
)


def apply_chunks(upload: Upload, *, on_progress: ProgressCallback) -> None:
    """Apply the upload, starting after the rows that have been applied already.

    Raises ChangedSinceCheck, UploadCancelled, UnreadableFile, FileChanged, NotAllowed; chunks that
    were written by then stay.
    """
    wait_for_killed_writers(upload)
    upload.refresh_from_db()  # they may have committed a chunk
    # Previews of earlier versions do not count effects, so nobody can tell which rights it takes.
    kind = ListKind(upload.kind)
    if "effects" not in upload.preview or staging.missing_staged_columns(upload.pk, kind):
        raise UnreadableFile(
            gettext_noop("It was checked by an earlier version. Upload the list again.")
        )
    rights.require_rights_to_apply(upload)
    plan = LIST_PLANS[kind]
    if not upload.after:
        if upload.all_or_nothing:
            begin_step(upload, UploadStep.VERIFYING)
            _check_nothing_changed(upload, plan)
        begin_step(upload, UploadStep.CREATING)
        _create_permitted_things(upload, plan)
    begin_step(upload, UploadStep.WRITING)
    with ExitStack() as stack:
        sealing = stack.enter_context(_BackgroundSealing(upload)) if plan.seals_keys else None
        if (upload.to_do or 0) - upload.done > MIN_ROWS_PER_CHUNK:
            _write_in_turns(upload, plan, sealing, on_progress)
            return
        writer = ChunkWriter(upload, plan, is_alone=True)
        while chunk := _next_chunk(upload, sealing, after=upload.after, most=MIN_ROWS_PER_CHUNK):
            writer.write(chunk)
            on_progress(upload)
            stop_if_asked(upload)


def _write_in_turns(
    upload: Upload,
    plan: ListPlan,
    sealing: "_BackgroundSealing | None",
    on_progress: ProgressCallback,
) -> None:
    """Write all chunks; while one is written, the next is sealed and planned."""
    with WriterThread(upload, plan) as first, WriterThread(upload, plan) as second:
        one, other = first, second
        size = MIN_ROWS_PER_CHUNK
        ahead = _next_chunk(upload, sealing, after=upload.after, most=size)
        while chunk := ahead:
            began = time.monotonic()
            writing = one.write(chunk)
            ahead = _next_chunk(upload, sealing, after=chunk.until, most=size)
            if ahead:
                other.plan_ahead(ahead)
            writing.result()
            size = _next_chunk_size(size, chunk.count, time.monotonic() - began)
            on_progress(upload)
            stop_if_asked(upload)
            one, other = other, one


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
    names = f"action = 'create', {SEALED_COLUMNS if plan.seals_keys else 'number'}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {names} FROM {staging.staging_table(upload.pk)} "
            "WHERE number > %s AND action IN ('create', 'update', 'move') ORDER BY number LIMIT %s",
            [after, most],
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    return RowChunk(
        after=after,
        until=rows[-1][1],
        count=len(rows),
        only_creates=all(is_create for is_create, *_ in rows),
        sealed=sealing.begin([values for _, *values in rows]) if sealing else None,
    )


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

    def begin(self, rows: Sequence[Sequence[Any]]) -> "Future[list[SealedRow]]":
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
