"""Phases of an upload (checking, applying, undoing): how each begins, and how the upload ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.transaction import atomic, on_commit
from django.utils import timezone

from revcred.hooks import announce_change
from revcred.models import AuditEvent, Upload
from revcred.request_id import current_request_id, working_for
from revcred.runtime.bell import Bell
from revcred.uploads import files, notices, rejected_file, staging
from revcred.uploads.columns import ListKind
from revcred.uploads.plans import LIST_PLANS
from revcred.uploads.steps import UploadStep, begin_step, end_step, steps_of

uploads_bell = Bell("revcred.process_uploads")


@contextmanager
def locked_upload(upload: Upload) -> Iterator[None]:
    """Open a transaction with the upload as it is now, locked against other changes."""
    with atomic():
        # NO KEY: inserting its changes, which refer to it, need not wait for this lock.
        upload.refresh_from_db(from_queryset=Upload.objects.select_for_update(no_key=True))
        yield


def begin_phase(upload: Upload, *, to_do: int | None = None) -> None:
    """Let a worker process the upload from its first row on. Belongs to the caller's transaction.

    `to_do` is the number of rows or changes, if it is known.
    """
    upload.to_do, upload.done, upload.done_before, upload.after = to_do, 0, 0, 0
    upload.fraction, upload.began_at, upload.tries = 0.0, None, 0
    upload.step, again = "", steps_of(upload)
    upload.step_seconds = {
        step: seconds for step, seconds in upload.step_seconds.items() if step not in again
    }
    upload.cancel_asked_at = None
    upload.save()
    # A worker that heard of it before the commit would not see it.
    on_commit(uploads_bell.ring)


def return_to_state_before_undo(upload: Upload) -> None:
    """End the phase of an upload that has told what undoing does, or cannot be undone."""
    upload.state = Upload.State(upload.undo_preview["from"])
    upload.error, upload.step = upload.undo_preview["error"], ""
    upload.save()


def end_upload(upload: Upload, state: Upload.State, error: str = "") -> None:
    """End the upload in one transaction: its state, record, mails and the announcement of changes.

    Its file is deleted, unless a failed check may be repeated with other settings.
    """
    has_written = upload.is_under_way and upload.state != Upload.State.CHECKING
    if has_written:
        begin_step(upload, UploadStep.FINISHING)
        # Rejected rows are copied from the file, which is deleted below.
        rejected_file.keep_rejected_file(upload)
    with locked_upload(upload):
        before = upload.state
        # 1,000 characters fit into the column.
        upload.state, upload.error = state, error[:1000]
        upload.ended_at = timezone.now()
        end_step(upload, at=upload.ended_at)
        upload.is_staged = upload.is_staged and has_written
        upload.save()
        _record_end(upload, before)
        if before == Upload.State.APPLYING:
            notices.queue_upload_notices(upload)
        # An upload that undid itself has failed: nobody was told that it had been applied.
        elif state == Upload.State.UNDONE:
            notices.queue_undo_notices(upload)
        plan = LIST_PLANS[ListKind(upload.kind)]
        if has_written and plan.changes_assignments and upload.changes.exists():
            # Once for the whole list: it tells metering what waits in quarantine, and what was
            # attributed wrongly since then.
            verb = "was undone" if before == Upload.State.UNDOING else "was applied"
            announce_change(
                f"upload {upload.pk} of “{upload.file_name[:100]}” {verb}",
                upload=upload,
                since=upload.since,
                by=upload.undone_by if before == Upload.State.UNDOING else upload.applied_by,
            )
    # After the commit: a file that is left behind is found by housekeeping, a lost one by nobody.
    if state != Upload.State.FAILED or has_written:
        files.list_file_path(upload.pk).unlink(missing_ok=True)
    if not has_written:
        staging.drop_staging_tables(upload.pk)


def _record_end(upload: Upload, before: str) -> None:
    states, verbs = Upload.State, AuditEvent.Verb
    verb, person = {
        states.APPLIED: (verbs.APPLIED, "applied_by"),
        states.CANCELLED: (verbs.CANCELLED, "cancelled_by"),
        states.UNDONE: (verbs.UNDONE, "undone_by"),
    }.get(states(upload.state), (verbs.CHANGED, "by"))
    with working_for(upload.request_id_of(person) or current_request_id()):
        AuditEvent.objects.record(
            verb,
            target=upload,
            by=getattr(upload, person),
            details={"digest": upload.digest, "from": before} | upload.outcome,
            address=upload.asked_from.get(person),
        )
