"""The worker of uploads: carries each phase on, and tidies up after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from django.db import connection
from django.utils import timezone

from revcred.models import Upload
from revcred.uploads import applying, checking, undoing
from revcred.uploads.opening import Cancelled
from revcred.uploads.phases import _begin, _end
from revcred.uploads.reading import UnreadableFile
from revcred.uploads.rights import NotAllowed
from revcred.uploads.sealing import FileChanged

TRIES = 10  # of one that breaks off without having come any further

State = Upload.State


MINE = 0x10AD  # advisory; one worker at an upload


class _Stopped(Exception):
    """The worker is asked to end. Another goes on."""


def work(
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
        with _mine(upload) as is_mine:
            if not is_mine:
                passed.add(upload.pk)
            elif not _go_on(upload, tell, stopping):
                return


@contextmanager
def _mine(upload: Upload) -> Iterator[bool]:
    """Whether nobody else is at it. Whoever is killed lets go of it with the connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [MINE, upload.pk])
        (is_mine,) = cursor.fetchone()
    try:
        yield is_mine
    finally:
        if is_mine and connection.connection and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [MINE, upload.pk])


def _go_on(upload: Upload, tell: Callable[[Upload], None] | None, stopping: Event | None) -> bool:
    """From where it was left. False if this worker is to stop."""

    def told(upload: Upload) -> None:
        Upload.objects.filter(pk=upload.pk).update(tries=0)
        if tell:
            tell(upload)
        if stopping and stopping.is_set():
            raise _Stopped

    upload.refresh_from_db()
    if not upload.is_under_way:
        return True
    if upload.tries >= TRIES:
        _end(upload, State.FAILED, "It broke off again and again; the log says why.")
        return True
    upload.tries += 1
    upload.began_at = timezone.now()
    upload.done_before = upload.done
    upload.save(update_fields=["tries", "began_at", "done_before"])
    try:
        _one_phase(upload, told)
    except _Stopped:
        return False
    return True


def _one_phase(upload: Upload, tell: Callable[[Upload], None]) -> None:
    try:
        if upload.state == State.CHECKING:
            checking.check(upload, tell=tell)
        elif upload.state == State.APPLYING:
            applying.apply(upload, tell=tell)
            _end(upload, State.APPLIED)
        else:
            undoing.undo(upload, tell=tell)
            _end(upload, State.FAILED if upload.error else State.UNDONE, upload.error)
    except UnreadableFile as error:
        _break_off(upload, str(error))
    except FileChanged:
        _break_off(upload, "The file is not the one that was checked.")
    except NotAllowed as lacking:
        _break_off(upload, f"It stopped: {_who(upload)} may not go on. {_reasons(lacking)}")
    except applying.Overtaken:
        _break_off(upload, "Something was changed since it was checked; nothing was kept of it.")
    except Cancelled:
        if upload.whole and upload.state == State.APPLYING:
            _break_off(upload, "It was cancelled; nothing was kept of it.")
        else:
            _end(upload, State.CANCELLED)


def _who(upload: Upload) -> str:
    user = upload.undone_by if upload.state == State.UNDOING else upload.applied_by
    return str(user) if user else "who asked for it"


def _reasons(lacking: NotAllowed) -> str:
    return f"No right to {'; no right to '.join(map(str, lacking.missing))}."


def _break_off(upload: Upload, error: str) -> None:
    """All or nothing that has begun is undone; good rows that were applied stay."""
    upload.refresh_from_db()
    if upload.state == State.APPLYING and upload.whole and upload.changes.exists():
        upload.state, upload.error = State.UNDOING, error
        _begin(upload, to_do=upload.changes.count())
    else:
        _end(upload, State.FAILED, error)
