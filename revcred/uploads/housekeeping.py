"""Housekeeping of uploads, called by the clock: wake workers, delete files after a day."""

import logging
from collections.abc import Collection
from datetime import timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q
from django.utils import timezone

from revcred.models import Upload, UploadChange
from revcred.models.uploads import FILE_RETENTION
from revcred.retention import delete_in_batches
from revcred.uploads import files, staging
from revcred.uploads.actions import cancel_upload
from revcred.uploads.phases import uploads_bell
from revcred.uploads.worker import UPLOAD_LOCK_CLASS

logger = logging.getLogger(__name__)


def ring_for_waiting_uploads() -> None:
    """Ring the bell if uploads wait and no worker is active.

    An active worker continues with the next upload without a bell.
    """
    if Upload.objects.waiting().exists() and not _is_worker_active():
        uploads_bell.ring()


def _is_worker_active() -> bool:
    # A worker holds an advisory lock while it processes an upload. Advisory locks of other
    # databases of the same server are listed as well.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
            [UPLOAD_LOCK_CLASS],
        )
        (is_active,) = cursor.fetchone()
    return bool(is_active)


def delete_expired_uploads() -> None:
    """Cancel uploads that wait for a decision, and delete files and staged rows, after a day.

    Files that a worker is reading are kept.
    """
    old = timezone.now() - FILE_RETENTION
    undecided = (Upload.State.UNMAPPED, Upload.State.READY)
    for upload in Upload.objects.filter(state__in=undecided, created_at__lt=old):
        cancel_upload(upload=upload, by=None)
    for path, number in files.stored_files():
        if (
            number is not None
            and files.seconds_since_written(path) > FILE_RETENTION.total_seconds()
        ):
            under_way = Upload.objects.filter(pk=number, state__in=Upload.UNDER_WAY)
            if not under_way.exists():
                path.unlink(missing_ok=True)
    delete_abandoned_files()
    for upload in Upload.objects.filter(is_staged=True, ended_at__lt=old):
        staging.drop_staging_tables(upload.pk)
        Upload.objects.filter(pk=upload.pk).update(is_staged=False)


def drop_undo_data(*, except_of: Collection[int] = ()) -> int:
    """Delete the changes of uploads that ended UPLOAD_UNDO_DAYS ago, and return how many.

    They hold replaced secrets, which nobody needs for ever. Beyond MAX_UPLOAD_CHANGES those of the
    oldest uploads go earlier. `except_of`: numbers of uploads that keep theirs for now.
    """
    before = timezone.now() - timedelta(days=settings.UPLOAD_UNDO_DAYS)
    ended = Upload.objects.exclude(state__in=Upload.UNDER_WAY).exclude(pk__in=except_of)
    too_many = _newest_upload_over_limit()
    over = ended.filter(Q(ended_at__lt=before) | Q(pk__lte=too_many), undo_dropped_at=None)
    over.update(undo_dropped_at=timezone.now())
    # Also those of an earlier run that did not finish.
    dropped = ended.exclude(undo_dropped_at=None)
    return delete_in_batches(UploadChange.objects.filter(upload__in=dropped))


def _newest_upload_over_limit() -> int:
    """Return the number of the newest upload whose changes are beyond the limit; 0 if none is."""
    # The number alone is in the index, which is all that is read of millions.
    newest_first = UploadChange.objects.order_by("-pk").values_list("pk", flat=True)
    most = settings.MAX_UPLOAD_CHANGES
    first_beyond = newest_first[most : most + 1].first()
    return UploadChange.objects.get(pk=first_beyond).upload_id if first_beyond else 0


def delete_abandoned_files(*, older_than: float = files.ABANDONED_SECONDS) -> int:
    """Delete files that dead processes left behind, and return how many.

    They hold keys in clear: lists that were still being received, whose upload was never
    committed, or whose upload has ended. A process that starts deletes them at any age
    (`older_than=0`; seconds).
    """
    removed = 0
    for path, number in files.stored_files():
        if older_than and files.seconds_since_written(path) < older_than:
            continue
        removed += files.remove_if_abandoned(path, partial(_is_file_unneeded, path, number))
    if removed:
        logger.warning("Deleted %s abandoned upload files", removed)
    return removed


def delete_abandoned_files_at_start() -> None:
    """Delete abandoned files of any age; if the database is unavailable, the clock does it."""
    try:
        delete_abandoned_files(older_than=0)
    except (OperationalError, InterfaceError) as error:
        logger.warning("The database is unavailable: %s", type(error).__name__)


def _is_file_unneeded(path: Path, number: int | None) -> bool:
    """Return True if no upload needs this file, be it a list or rejected rows."""
    if number is None:  # still being received when its process died
        return True
    upload = Upload.objects.filter(pk=number).first()
    if upload is None:
        return True
    if upload.is_under_way or path != files.list_file_path(number):
        return False  # rejected rows are written while an upload ends, and may be downloaded later
    return upload.file_kept_until is None
