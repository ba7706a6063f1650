"""Worker of uploads: process the phases of waiting uploads, one upload after the other."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event

from django.db import connection
from django.utils.translation import gettext_noop

from revcred.client_address import asked_from
from revcred.models import Upload
from revcred.request_id import current_request_id, working_for
from revcred.uploads import applying, checking, trial, undoing
from revcred.uploads.chunk_writing import ChangedSinceCheck
from revcred.uploads.lanes import Lane, waiting_in
from revcred.uploads.opening import ProgressCallback, UploadCancelled
from revcred.uploads.phases import begin_phase, end_upload, return_to_state_before_undo
from revcred.uploads.reading import UnreadableFile
from revcred.uploads.rights import NotAllowed
from revcred.uploads.sealing import FileChanged

MAX_ATTEMPTS_WITHOUT_PROGRESS = 10  # then an upload that kills its workers fails
LANE_LOOK_SECONDS = 0.5
UPLOAD_LOCK_CLASS = 0x10AD  # class of the advisory lock that only one worker of an upload holds


class _WorkerStopping(Exception):
    """The worker process has been asked to stop. Another worker continues the upload."""


def process_waiting_uploads(
    *,
    only: Upload | None = None,
    lane: Lane | None = None,
    on_progress: ProgressCallback | None = None,
    stopping: Event | None = None,
) -> None:
    """Process waiting uploads, the oldest first, until none is left or `stopping` is set.

    Uploads of other workers are skipped, and those of other lanes than `lane`. The management
    command processes `only` its own upload; `on_progress` is called after each chunk.
    """
    skipped: set[int] = set()
    while True:
        waiting = waiting_in(lane) if lane else Upload.objects.waiting().order_by("pk")
        waiting = waiting.exclude(pk__in=skipped)
        upload = (waiting.filter(pk=only.pk) if only else waiting).first()
        # Asked again after each upload: others may have come, or been taken by other workers.
        if upload is None or (stopping and stopping.is_set()):
            return
        with _upload_lock(upload) as is_mine:
            if not is_mine:
                skipped.add(upload.pk)
            elif not _continue_upload(upload, on_progress, stopping):
                return


def process_in_lanes(*, stopping: Event) -> None:
    """Process waiting uploads, those of each lane in a thread of its own, until none is left."""
    with ThreadPoolExecutor(len(Lane), "uploads") as threads:
        lanes: dict[Lane, Future[None]] = {}
        while not stopping.is_set():
            for lane in Lane:
                if lane in lanes and lanes[lane].done():
                    # Raises what ended the thread, once those of the others have ended as well.
                    lanes.pop(lane).result()
                if lane not in lanes and _has_work(lane):
                    lanes[lane] = threads.submit(_process_lane, lane, stopping)
            if not lanes:
                return
            # While one lane is busy, others may get uploads, whose bell nobody hears.
            wait(lanes.values(), timeout=LANE_LOOK_SECONDS, return_when=FIRST_COMPLETED)


def _has_work(lane: Lane) -> bool:
    return waiting_in(lane).exists()


def _process_lane(lane: Lane, stopping: Event) -> None:
    try:
        process_waiting_uploads(lane=lane, stopping=stopping)
    finally:
        connection.close()  # that of this thread


@contextmanager
def _upload_lock(upload: Upload) -> Iterator[bool]:
    """Try to take the advisory lock of the upload; give False if another worker has it.

    PostgreSQL releases it with the connection, so a killed worker leaves no lock behind.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [UPLOAD_LOCK_CLASS, upload.pk])
        (is_mine,) = cursor.fetchone()
    try:
        yield is_mine
    finally:
        # A new connection would not hold the lock.
        if is_mine and connection.connection and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [UPLOAD_LOCK_CLASS, upload.pk])


def _continue_upload(
    upload: Upload, on_progress: ProgressCallback | None, stopping: Event | None
) -> bool:
    """Process the phase of the upload from where it was left. Return False if the worker stops."""

    def after_chunk(upload: Upload) -> None:
        # Only attempts without any progress count.
        Upload.objects.filter(pk=upload.pk).update(tries=0)
        if on_progress:
            on_progress(upload)
        if stopping and stopping.is_set():
            raise _WorkerStopping

    upload.refresh_from_db()
    # Another worker may have ended it between the query and the lock.
    if not upload.is_under_way:
        return True
    if upload.tries >= MAX_ATTEMPTS_WITHOUT_PROGRESS and upload.state == Upload.State.UNDO_CHECK:
        # What was applied has not failed: only nobody can tell what undoing would do.
        upload.undo_preview = {name: upload.undo_preview[name] for name in ("from", "error")}
        return_to_state_before_undo(upload)
        return True
    if upload.tries >= MAX_ATTEMPTS_WITHOUT_PROGRESS:
        end_upload(
            upload,
            Upload.State.FAILED,
            f"It failed {upload.tries} times without progress. The reason is in the worker's log.",
        )
        return True
    # Saved before the attempt: a worker that is killed in it cannot count it afterwards.
    upload.tries += 1
    upload.save(update_fields=["tries"])
    states = Upload.State
    person = {states.APPLYING: "applied_by", states.UNDOING: "undone_by"}.get(
        states(upload.state), "by"
    )
    try:
        with (
            asked_from(upload.asked_from.get(person)),
            working_for(upload.request_id_of(person) or current_request_id()),
        ):
            _run_phase(upload, after_chunk)
    except _WorkerStopping:
        return False
    return True


def _run_phase(upload: Upload, on_progress: ProgressCallback) -> None:
    state = Upload.State
    try:
        if upload.state == state.CHECKING:
            checking.check_list(upload, on_progress=on_progress, count_moves=trial.try_applying)
        elif upload.state == state.APPLYING:
            applying.apply_chunks(upload, on_progress=on_progress)
            end_upload(upload, state.APPLIED)
        else:
            _undo_or_check(upload, on_progress)
    except UnreadableFile as error:
        _stop_with_error(upload, str(error))
    except FileChanged:
        _stop_with_error(upload, gettext_noop("The file is not the one that was checked."))
    except NotAllowed as error:
        _stop_with_error(
            upload,
            f"It stopped because {_requester_name(upload)} lacks rights. "
            f"{_missing_rights_text(error)}",
        )
    except ChangedSinceCheck:
        _stop_with_error(
            upload,
            gettext_noop("Something has changed since the list was checked. No changes were kept."),
        )
    except UploadCancelled:
        if upload.all_or_nothing and upload.state == state.APPLYING:
            _stop_with_error(upload, gettext_noop("It was cancelled. No changes were kept."))
        else:
            end_upload(upload, state.CANCELLED)


def _undo_or_check(upload: Upload, on_progress: ProgressCallback) -> None:
    state = Upload.State
    if upload.state == state.UNDO_CHECK:
        undoing.check_undoing(upload, count_moves=trial.try_undoing)
        return_to_state_before_undo(upload)
    elif undoing.undo_changes(upload, on_progress=on_progress):
        # An all-or-nothing upload that undid itself has failed; its error says why.
        end_upload(upload, state.FAILED if upload.error else state.UNDONE, upload.error)
    else:
        return_to_state_before_undo(upload)


def _requester_name(upload: Upload) -> str:
    user = upload.undone_by if upload.state == Upload.State.UNDOING else upload.applied_by
    return str(user) if user else "the person who asked for it"  # whose login was deleted


def _missing_rights_text(error: NotAllowed) -> str:
    return f"No right to {'; no right to '.join(map(str, error.missing))}."


def _stop_with_error(upload: Upload, error: str) -> None:
    """End the upload as failed. If it is all or nothing, undo first what it has done."""
    upload.refresh_from_db()
    if upload.state == Upload.State.APPLYING and upload.all_or_nothing and upload.changes.exists():
        upload.state, upload.error = Upload.State.UNDOING, error
        begin_phase(upload, to_do=upload.changes.count())
    else:
        end_upload(upload, Upload.State.FAILED, error)
