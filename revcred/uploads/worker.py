"""Worker of uploads: process the phases of waiting uploads, one upload after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from django.db import connection
from django.utils import timezone

from revcred.client_address import asked_from
from revcred.models import Upload
from revcred.request_id import current_request_id, working_for
from revcred.uploads import applying, checking, trial, undoing
from revcred.uploads.opening import ProgressCallback, UploadCancelled
from revcred.uploads.phases import begin_phase, end_upload
from revcred.uploads.reading import UnreadableFile
from revcred.uploads.rights import NotAllowed
from revcred.uploads.sealing import FileChanged

MAX_ATTEMPTS_WITHOUT_PROGRESS = 10  # then an upload that kills its workers fails
UPLOAD_LOCK_CLASS = 0x10AD  # class of the advisory lock that only one worker of an upload holds


class _WorkerStopping(Exception):
    """The worker process has been asked to stop. Another worker continues the upload."""


def process_waiting_uploads(
    *,
    only: Upload | None = None,
    on_progress: ProgressCallback | None = None,
    stopping: Event | None = None,
) -> None:
    """Process waiting uploads, the oldest first, until none is left or `stopping` is set.

    Uploads of other workers are skipped. The management command processes `only` its own upload;
    `on_progress` is called after each chunk.
    """
    skipped: set[int] = set()
    while True:
        waiting = Upload.objects.waiting().exclude(pk__in=skipped).order_by("pk")
        upload = (waiting.filter(pk=only.pk) if only else waiting).first()
        # Asked again after each upload: others may have come, or been taken by other workers.
        if upload is None or (stopping and stopping.is_set()):
            return
        with _upload_lock(upload) as is_mine:
            if not is_mine:
                skipped.add(upload.pk)
            elif not _continue_upload(upload, on_progress, stopping):
                return


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
    if upload.tries >= MAX_ATTEMPTS_WITHOUT_PROGRESS:
        end_upload(
            upload,
            Upload.State.FAILED,
            f"It failed {upload.tries} times without progress. The reason is in the worker's log.",
        )
        return True
    # Saved before the attempt: a worker that is killed in it cannot count it afterwards.
    upload.tries += 1
    upload.began_at = timezone.now()
    upload.done_before = upload.done
    upload.save(update_fields=["tries", "began_at", "done_before"])
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
            undoing.undo_changes(upload, on_progress=on_progress)
            # An all-or-nothing upload that undid itself has failed; its error says why.
            end_upload(upload, state.FAILED if upload.error else state.UNDONE, upload.error)
    except UnreadableFile as error:
        _stop_with_error(upload, str(error))
    except FileChanged:
        _stop_with_error(upload, "The file is not the one that was checked.")
    except NotAllowed as error:
        _stop_with_error(
            upload,
            f"It stopped because {_requester_name(upload)} lacks rights. "
            f"{_missing_rights_text(error)}",
        )
    except applying.ChangedSinceCheck:
        _stop_with_error(
            upload, "Something has changed since the list was checked. No changes were kept."
        )
    except UploadCancelled:
        if upload.all_or_nothing and upload.state == state.APPLYING:
            _stop_with_error(upload, "It was cancelled. No changes were kept.")
        else:
            end_upload(upload, state.CANCELLED)


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
