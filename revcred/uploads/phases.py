"""Phases of an upload: each begins, is on record and ends in one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.transaction import atomic, on_commit
from django.utils import timezone

from revcred.hooks import announce_change
from revcred.models import AuditEvent, Upload
from revcred.runtime.bell import Bell
from revcred.uploads import files, notices, rejected_file, staging

uploads_bell = Bell("revcred.uploads")

State = Upload.State
Verb = AuditEvent.Verb


@contextmanager
def _locked_upload(upload: Upload) -> Iterator[None]:
    """In one transaction, with the upload as it is now, and nobody else changing it."""
    with atomic():
        upload.refresh_from_db(from_queryset=Upload.objects.select_for_update(no_key=True))
        yield


def _begin_phase(upload: Upload, *, to_do: int | None = None) -> None:
    """From its first row on, as soon as a worker hears of it."""
    upload.to_do, upload.done, upload.done_before, upload.after = to_do, 0, 0, 0
    upload.fraction, upload.began_at, upload.tries = 0.0, None, 0
    upload.cancel_asked_at = None
    upload.save()
    on_commit(uploads_bell.ring)


def _end_upload(upload: Upload, state: Upload.State, error: str = "") -> None:
    """What it did is announced and on record in the transaction that says so."""
    did = upload.is_under_way and upload.state != State.CHECKING
    if did:
        rejected_file.keep_rejected_file(upload)
    with _locked_upload(upload):
        before = upload.state
        upload.state, upload.error = state, error[:1000]
        upload.ended_at = timezone.now()
        upload.is_staged = upload.is_staged and did
        upload.save()
        _record_end(upload, before)
        if before == State.APPLYING:
            notices.queue_upload_notices(upload)
        if did and upload.changes.exists():
            verb = "was undone" if before == State.UNDOING else "was applied"
            announce_change(
                f"upload {upload.pk} of “{upload.file_name[:100]}” {verb}",
                upload=upload,
                since=upload.since,
                by=upload.undone_by if before == State.UNDOING else upload.applied_by,
            )
    if state != State.FAILED or did:
        files.list_file_path(upload.pk).unlink(missing_ok=True)
    if not did:
        staging.drop_staging_tables(upload.pk)


def _record_end(upload: Upload, before: str) -> None:
    verb, by = {
        State.APPLIED: (Verb.APPLIED, upload.applied_by),
        State.CANCELLED: (Verb.CANCELLED, upload.cancelled_by),
        State.UNDONE: (Verb.UNDONE, upload.undone_by),
    }.get(State(upload.state), (Verb.CHANGED, upload.by))
    details = {"digest": upload.digest, "from": before} | upload.outcome
    AuditEvent.objects.record(verb, target=upload, by=by, details=details)
