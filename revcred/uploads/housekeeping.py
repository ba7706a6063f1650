"""Housekeeping of uploads, asked for by the clock: wake workers, delete what is a day old."""

import logging
from functools import partial
from pathlib import Path

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from revcred.models import Upload
from revcred.models.uploads import FILE_RETENTION
from revcred.uploads import files, staging
from revcred.uploads.actions import cancel_upload
from revcred.uploads.phases import uploads_bell
from revcred.uploads.worker import UPLOAD_LOCK_CLASS

logger = logging.getLogger(__name__)

State = Upload.State


def ring_for_waiting_uploads() -> None:
    """Ring for what waits, unless a worker is at one: it goes on with the others by itself."""
    if Upload.objects.waiting().exists() and not _is_worker_active():
        uploads_bell.ring()


def _is_worker_active() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
            [UPLOAD_LOCK_CLASS],
        )
        (works,) = cursor.fetchone()
    return bool(works)


def delete_expired_uploads() -> None:
    """Delete what is a day old: files, and what was staged. Nothing is deleted under a worker."""
    old = timezone.now() - FILE_RETENTION
    resting = (State.UNMAPPED, State.READY)
    for upload in Upload.objects.filter(state__in=resting, created_at__lt=old):
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


def delete_abandoned_files(*, older_than: float = files.ABANDONED_SECONDS) -> int:
    """Delete the files that processes left behind which died, and return how many.

    They hold keys in clear: lists that were still being received, or whose upload was never
    committed, or has ended. A start of a process asks for all of them (`older_than=0`).
    """
    removed = 0
    for path, number in files.stored_files():
        if older_than and files.seconds_since_written(path) < older_than:
            continue
        removed += files.remove_if_abandoned(path, partial(_is_file_unneeded, path, number))
    if removed:
        logger.warning("Deleted %s files that nobody was uploading any more", removed)
    return removed


def delete_abandoned_files_at_start() -> None:
    """As `delete_abandoned_files`, of any age. If the database is away, the clock does it later."""
    try:
        delete_abandoned_files(older_than=0)
    except (OperationalError, InterfaceError) as error:
        logger.warning("The database is away: %s", type(error).__name__)


def _is_file_unneeded(path: Path, number: int | None) -> bool:
    """Return whether no upload needs this file, its list or the rows that were refused."""
    if number is None:
        return True
    upload = Upload.objects.filter(pk=number).first()
    if upload is None:
        return True
    if upload.is_under_way or path != files.list_file_path(number):
        return False  # all or nothing that is taken back writes its refused rows at the end
    return upload.file_kept_until is None
