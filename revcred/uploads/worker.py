"""The worker of uploads: carries each phase on, and tidies up after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from django.db import connection
from django.utils import timezone

from revcred.models import Upload
from revcred.uploads import applying, checking, undoing
from revcred.uploads.opening import UploadCancelled
from revcred.uploads.phases import _begin_phase, _end_upload
from revcred.uploads.reading import UnreadableFile
from revcred.uploads.rights import NotAllowed
from revcred.uploads.sealing import FileChanged

MAX_ATTEMPTS_WITHOUT_PROGRESS = 10  # of one that breaks off without having come any further

State = Upload.State


UPLOAD_LOCK_CLASS = 0x10AD  # advisory; one worker at an upload


class _WorkerStopping(Exception):
    """The worker is asked to end. Another goes on."""


def process_waiting_uploads(
    *,
    only: Upload | None = None,
    tell: Callable[[Upload], None] | None = None,
    stopping: Event | None = None,
) -> None:
    """Go on with what waits, the oldest first, until nothing does; another's is passed over.

    A command works on its own alone (`only`), and is told after each chunk.
    """
    passed: set[int] = set()
    while True:
        waiting = Upload.objects.waiting().exclude(pk__in=passed).order_by("pk")
        upload = (waiting.filter(pk=only.pk) if only else waiting).first()
        if upload is None or (stopping and stopping.is_set()):
            return
        with _upload_lock(upload) as is_mine:
            if not is_mine:
                passed.add(upload.pk)
            elif not _continue_upload(upload, tell, stopping):
                return


@contextmanager
def _upload_lock(upload: Upload) -> Iterator[bool]:
    """Whether nobody else is at it. Whoever is killed lets go of it with the connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [UPLOAD_LOCK_CLASS, upload.pk])
        (is_mine,) = cursor.fetchone()
    try:
        yield is_mine
    finally:
        if is_mine and connection.connection and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [UPLOAD_LOCK_CLASS, upload.pk])


def _continue_upload(
    upload: Upload, tell: Callable[[Upload], None] | None, stopping: Event | None
) -> bool:
    """From where it was left. False if this worker is to stop."""

    def told(upload: Upload) -> None:
        Upload.objects.filter(pk=upload.pk).update(tries=0)
        if tell:
            tell(upload)
        if stopping and stopping.is_set():
            raise _WorkerStopping

    upload.refresh_from_db()
    if not upload.is_under_way:
        return True
    if upload.tries >= MAX_ATTEMPTS_WITHOUT_PROGRESS:
        _end_upload(upload, State.FAILED, "It broke off again and again; the log says why.")
        return True
    upload.tries += 1
    upload.began_at = timezone.now()
    upload.done_before = upload.done
    upload.save(update_fields=["tries", "began_at", "done_before"])
    try:
        _run_phase(upload, told)
    except _WorkerStopping:
        return False
    return True


def _run_phase(upload: Upload, tell: Callable[[Upload], None]) -> None:
    try:
        if upload.state == State.CHECKING:
            checking.check_list(upload, tell=tell)
        elif upload.state == State.APPLYING:
            applying.apply_chunks(upload, tell=tell)
            _end_upload(upload, State.APPLIED)
        else:
            undoing.undo_changes(upload, tell=tell)
            _end_upload(upload, State.FAILED if upload.error else State.UNDONE, upload.error)
    except UnreadableFile as error:
        _stop_with_error(upload, str(error))
    except FileChanged:
        _stop_with_error(upload, "The file is not the one that was checked.")
    except NotAllowed as lacking:
        _stop_with_error(
            upload,
            f"It stopped: {_requester_name(upload)} may not go on. {_missing_rights_text(lacking)}",
        )
    except applying.ChangedSinceCheck:
        _stop_with_error(
            upload, "Something was changed since it was checked; nothing was kept of it."
        )
    except UploadCancelled:
        if upload.whole and upload.state == State.APPLYING:
            _stop_with_error(upload, "It was cancelled; nothing was kept of it.")
        else:
            _end_upload(upload, State.CANCELLED)


def _requester_name(upload: Upload) -> str:
    user = upload.undone_by if upload.state == State.UNDOING else upload.applied_by
    return str(user) if user else "who asked for it"


def _missing_rights_text(lacking: NotAllowed) -> str:
    return f"No right to {'; no right to '.join(map(str, lacking.missing))}."


def _stop_with_error(upload: Upload, error: str) -> None:
    """All or nothing that has begun is undone; good rows that were applied stay."""
    upload.refresh_from_db()
    if upload.state == State.APPLYING and upload.whole and upload.changes.exists():
        upload.state, upload.error = State.UNDOING, error
        _begin_phase(upload, to_do=upload.changes.count())
    else:
        _end_upload(upload, State.FAILED, error)
