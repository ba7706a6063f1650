"""Steps of an upload's phases: the current one, its rate, and how long the rest takes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median

from django.utils import timezone
from django.utils.translation import gettext_noop

from revcred.models import Upload


class UploadStep(StrEnum):
    READING = "reading"
    PLANNING = "planning"
    TRYING = "trying"
    VERIFYING = "verifying"
    CREATING = "creating"
    WRITING = "writing"
    FINDING_DEPENDENTS = "finding_dependents"
    TRYING_UNDO = "trying_undo"
    UNDOING = "undoing"
    FINISHING = "finishing"


STEP_TEXTS = {
    UploadStep.READING: gettext_noop("Reading the rows"),
    UploadStep.PLANNING: gettext_noop("Comparing the rows with what exists"),
    UploadStep.TRYING: gettext_noop("Counting the calls that would move"),
    UploadStep.VERIFYING: gettext_noop("Looking for rows that have changed since the check"),
    UploadStep.CREATING: gettext_noop(
        "Creating the customers, people and subscriptions that rows name"
    ),
    UploadStep.WRITING: gettext_noop("Writing the rows"),
    UploadStep.FINDING_DEPENDENTS: gettext_noop("Looking for what depends on the upload"),
    UploadStep.TRYING_UNDO: gettext_noop("Counting the calls that would move"),
    UploadStep.UNDOING: gettext_noop("Undoing the changes"),
    UploadStep.FINISHING: gettext_noop("Finishing"),
}
STEPS_BY_STATE = {
    Upload.State.CHECKING: (UploadStep.READING, UploadStep.PLANNING, UploadStep.TRYING),
    Upload.State.APPLYING: (UploadStep.CREATING, UploadStep.WRITING, UploadStep.FINISHING),
    Upload.State.UNDO_CHECK: (UploadStep.FINDING_DEPENDENTS, UploadStep.TRYING_UNDO),
    Upload.State.UNDOING: (
        UploadStep.FINDING_DEPENDENTS,
        UploadStep.UNDOING,
        UploadStep.FINISHING,
    ),
}
# Their rows or changes are counted as they go. All others are single statements, or nearly so.
COUNTED_STEPS = (UploadStep.READING, UploadStep.WRITING, UploadStep.UNDOING)

# Measured with lists of credentials, and used until this installation has seen such a list itself.
SECONDS_PER_1000_ROWS = {
    UploadStep.READING: 0.03,
    UploadStep.PLANNING: 0.04,
    UploadStep.TRYING: 0.08,
    UploadStep.VERIFYING: 0.04,
    UploadStep.CREATING: 0.01,
    UploadStep.WRITING: 0.2,
    UploadStep.FINDING_DEPENDENTS: 0.02,
    UploadStep.TRYING_UNDO: 0.01,
    UploadStep.UNDOING: 0.1,
    UploadStep.FINISHING: 0.02,
}
UPLOADS_COMPARED = 5  # latest ones of the same kind, by which a step's time is foretold


@dataclass(frozen=True)
class UploadProgress:
    """The progress of the current phase: checking, applying, undoing."""

    step: str  # in words; "" while it waits for its turn
    number: int  # of the step, from 1
    steps: int
    done: int  # rows, or changes while undoing
    total: int | None
    fraction: float | None  # of the step, from 0 to 1; None where nothing is counted
    rate: float  # rows a second in this step
    left: timedelta | None  # until the end of the phase; None if it cannot be told


def steps_of(upload: Upload) -> tuple[UploadStep, ...]:
    steps = STEPS_BY_STATE[Upload.State(upload.state)]
    checks_again = upload.state == Upload.State.APPLYING and upload.all_or_nothing
    return (UploadStep.VERIFYING, *steps) if checks_again else steps


def begin_step(upload: Upload, step: UploadStep, *, to_do: int | None = None) -> None:
    """Save that the upload is in this step now, and how long the one before has taken.

    `to_do` is the number of rows or changes, if it is known only now.
    """
    now = timezone.now()
    end_step(upload, at=now)
    upload.step, upload.began_at, upload.done_before = step, now, upload.done
    upload.to_do = upload.to_do if to_do is None else to_do
    upload.save(update_fields=["step", "began_at", "done_before", "to_do", "step_seconds"])


def end_step(upload: Upload, *, at: datetime) -> None:
    """Note how long the current step has taken, without saving it."""
    if upload.step and upload.began_at:
        seconds = (at - upload.began_at).total_seconds()
        earlier = upload.step_seconds.get(upload.step, 0.0)  # of an attempt that was killed
        upload.step_seconds = upload.step_seconds | {upload.step: round(earlier + seconds, 3)}


def progress_of(upload: Upload, moment: datetime) -> UploadProgress:
    """Return the progress of an upload that is under way."""
    steps = steps_of(upload)
    if not (upload.step and upload.began_at) or upload.step not in steps:
        return UploadProgress("", 0, len(steps), 0, upload.to_do, None, 0.0, None)
    step = UploadStep(upload.step)
    seconds = (moment - upload.began_at).total_seconds()
    position = steps.index(step)
    done_now = upload.done - upload.done_before
    is_counted = step in COUNTED_STEPS
    rate = done_now / seconds if seconds > 0 and is_counted else 0.0
    rows = _rows_of(upload, step)
    left = _seconds_left(upload, step, seconds, rate, rows)
    if left is not None:
        left += sum(_expected_seconds(upload, later, rows) for later in steps[position + 1 :])
    return UploadProgress(
        step=STEP_TEXTS[step],
        number=position + 1,
        steps=len(steps),
        done=upload.done,
        total=upload.to_do,
        fraction=upload.fraction if is_counted else None,
        rate=rate,
        left=None if left is None else timedelta(seconds=round(left)),
    )


def _rows_of(upload: Upload, step: UploadStep) -> float:
    """Return the number of rows; while they are read, what their share of the file lets expect."""
    if step is UploadStep.READING:
        return upload.done / upload.fraction if upload.fraction else 0.0
    return float(upload.to_do or upload.total or 0)


def _seconds_left(
    upload: Upload, step: UploadStep, seconds: float, rate: float, rows: float
) -> float | None:
    """Return the seconds that the current step still takes; None if nobody can tell."""
    if step in COUNTED_STEPS:
        return (rows - upload.done) / rate if rate else None
    left = _expected_seconds(upload, step, rows) - seconds
    return left if left > 0 else None


def _expected_seconds(upload: Upload, step: UploadStep, rows: float) -> float:
    """Return the seconds that a step takes for so many rows, by the latest uploads of the kind."""
    seen = (
        Upload.objects.filter(kind=upload.kind, step_seconds__has_key=step, total__gt=0)
        .exclude(pk=upload.pk)
        .values_list("total", "step_seconds")[:UPLOADS_COMPARED]
    )
    # Of a small list the seconds are those of connecting and starting, and foretell nothing.
    known = [spent[step] / total for total, spent in seen if total and total >= rows / 100]
    return rows * (median(known) if known else SECONDS_PER_1000_ROWS[step] / 1_000)
