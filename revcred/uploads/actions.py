"""What people and the clock do with uploads: the same acts for pages, API and command."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import BinaryIO, Literal

from django.db.transaction import atomic, on_commit
from django.utils import timezone

from revcred.models import AuditEvent, RememberedMapping, Upload, User
from revcred.uploads import (
    files,
    rejected_file,
    rights,
    undoing,
)
from revcred.uploads import mapping as mappings
from revcred.uploads.columns import ListKind
from revcred.uploads.files import FileTooLarge
from revcred.uploads.phases import _begin_phase, _end_upload, _locked_upload, uploads_bell
from revcred.uploads.problems import RowProblem
from revcred.uploads.problems import row_problems as refusals_of
from revcred.uploads.reading import MAX_FILE_BYTES
from revcred.uploads.rights import NotAllowed
from revcred.uploads.undoing import UndoObstacle
from revcred.uploads.writing import ListFormat

__all__ = [
    "ColumnsMissing",
    "FileTooLarge",
    "NotAllowed",
    "NothingToApply",
    "RowProblem",
    "SomeRowsRejected",
    "UndoBlocked",
    "UndoObstacle",
    "UploadChoices",
    "WrongUploadState",
    "apply_upload",
    "cancel_upload",
    "list_row_problems",
    "receive_upload",
    "recheck_upload",
    "rejected_file_format",
    "undo_obstacles",
    "undo_upload",
    "write_rejected_rows",
]

logger = logging.getLogger(__name__)

State, Verb = Upload.State, AuditEvent.Verb


class WrongUploadState(Exception):
    """The upload is not in the state for that: its page was out of date."""


class SomeRowsRejected(Exception):
    """All or nothing was asked for, and some rows are refused."""


class NothingToApply(Exception):
    """No row creates, updates or moves anything."""


class ColumnsMissing(Exception):
    """Required columns are not mapped. Its `names` are ours."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class UndoBlocked(Exception):
    """Something later depends on what the upload did."""

    def __init__(self, dependents: list[UndoObstacle]) -> None:
        super().__init__("; ".join(each.reason for each in dependents))
        self.dependents = dependents


@dataclass(frozen=True, kw_only=True)
class UploadChoices:
    """What to do about rows that name what is not there, or what is somebody else's."""

    customers: Literal["refuse", "create"] = "refuse"
    subscribers: Literal["refuse", "create"] = "refuse"
    subscriptions: Literal["refuse", "create"] = "refuse"
    product: str = ""  # of subscriptions that are created: its external key
    keys_of_others: Literal["refuse", "take_over"] = "refuse"
    people_of_others: Literal["refuse", "join"] = "refuse"  # who would become members
    revoked_keys: Literal["refuse", "use_again"] = "refuse"


# --- What people do -------------------------------------------------------------------------------


def receive_upload(
    *,
    kind: ListKind,
    file: BinaryIO,
    name: str,
    by: User | None,
    encoding: str | None = None,
    delimiter: str | None = None,
    mapping: Mapping[int, str] | None = None,
    for_all: Mapping[str, str] | None = None,
    choices: UploadChoices | None = None,
) -> Upload:
    """Keep the file and have it checked in the background. Without a mapping one is guessed.

    `for_all` is what every row has, by column, as `mapping.for_all` gives it.

    Raises FileTooLarge. `Upload.state` is CHECKING, then READY with its `preview`, UNMAPPED if
    required columns could not be told, or FAILED with its `error`.
    """
    with files.received_file(file, most=MAX_FILE_BYTES) as (copy, size, digest), atomic():
        upload = Upload.objects.create(
            kind=kind,
            file_name=name[-255:],
            size=size,
            digest=digest,
            encoding=encoding or "",
            delimiter=delimiter or "",
            mapping=mappings.without_fixed_columns(mapping or {}, for_all or {}),
            for_all=for_all or {},
            choices=asdict(choices or UploadChoices()),
            by=by,
        )
        details = {"digest": digest, "bytes": size}
        AuditEvent.objects.record(Verb.UPLOADED, target=upload, by=by, details=details)
        copy.rename(files.list_file_path(upload.pk))
        on_commit(uploads_bell.ring)
    return upload


def recheck_upload(
    *,
    upload: Upload,
    by: User | None,
    mapping: Mapping[int, str] | None = None,
    for_all: Mapping[str, str] | None = None,
    choices: UploadChoices | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> None:
    """Have it checked again, as said now; what is None stays. A mapping is remembered.

    Raises WrongUploadState unless it is UNMAPPED or READY, or could not be read; ColumnsMissing.
    """
    kind = ListKind(upload.kind)
    for_all = upload.for_all if for_all is None else for_all
    if mapping is not None and (missing := mappings.missing_columns(kind, mapping, for_all)):
        raise ColumnsMissing(missing)
    with _locked_upload(upload):
        if not _may_be_checked(upload):
            raise WrongUploadState
        if encoding is not None or delimiter is not None:
            upload.encoding = encoding if encoding is not None else upload.encoding
            upload.delimiter = delimiter if delimiter is not None else upload.delimiter
            upload.mapping = {}  # other columns may come out of it
        if mapping is not None:
            upload.mapping = {str(position): name for position, name in mapping.items()}
            _remember_mapping(kind, upload)
        upload.mapping = mappings.without_fixed_columns(upload.mapping, for_all)
        upload.for_all = for_all
        if choices is not None:
            upload.choices = asdict(choices)
        upload.state, upload.error, upload.preview = State.CHECKING, "", {}
        upload.is_staged = False
        _begin_phase(upload)


def apply_upload(*, upload: Upload, by: User, whole: bool) -> None:
    """Have it applied in the background: `whole` is all or nothing, else the good rows.

    Raises WrongUploadState unless it is READY, SomeRowsRejected, NothingToApply; NotAllowed if `by`
    has not all the rights that it takes (see `uploads.rights`), which the worker asks again.
    """
    with _locked_upload(upload):
        if upload.state != State.READY:
            raise WrongUploadState
        counts = upload.preview["counts"]
        to_do = sum(counts[each] for each in ("create", "update", "move"))
        if whole and counts["refused"]:
            raise SomeRowsRejected
        if not to_do:
            raise NothingToApply
        if missing := rights.missing_rights_to_apply(upload, by):
            raise NotAllowed(missing)
        upload.state, upload.whole, upload.applied_by = State.APPLYING, whole, by
        upload.applied_at = timezone.now()
        _begin_phase(upload, to_do=to_do)


def cancel_upload(*, upload: Upload, by: User | None) -> None:
    """Before it is applied: for good. While it is: at the end of a row, and what was done stays.

    Raises WrongUploadState if it has ended, or is being undone.
    """
    with _locked_upload(upload):
        if upload.state not in Upload.WITH_FILE:
            raise WrongUploadState
        upload.cancel_asked_at, upload.cancelled_by = timezone.now(), by
        if not upload.is_under_way:
            upload.state = State.CANCELLED
        upload.save()
    if upload.state == State.CANCELLED:
        _end_upload(upload, State.CANCELLED)
    else:
        uploads_bell.ring()


def undo_obstacles(*, upload: Upload) -> list[UndoObstacle]:
    """What keeps some of it from being undone, as far as can be told now."""
    return undoing.find_undo_obstacles(upload)


def undo_upload(*, upload: Upload, by: User) -> None:
    """Have all it did undone in the background. It takes the rights that doing it took.

    Raises WrongUploadState unless it did anything and has ended, NotAllowed, UndoBlocked.
    """
    if upload.state not in Upload.UNDOABLE or not upload.changes.exists():
        raise WrongUploadState
    if missing := rights.missing_rights_to_undo(upload, by):
        raise NotAllowed(missing)
    if found := undo_obstacles(upload=upload):
        raise UndoBlocked(found)
    with _locked_upload(upload):
        if upload.state not in Upload.UNDOABLE:
            raise WrongUploadState
        upload.state, upload.undone_by, upload.error = State.UNDOING, by, ""
        _begin_phase(upload, to_do=upload.changes.count())


def list_row_problems(*, upload: Upload, after: int = 0, most: int = 100) -> list[RowProblem]:
    """Of so many rows after that one, in their order; a row with several reasons has several.

    Empty before it was checked, and a day after it ended.
    """
    return refusals_of(upload, after=after, most=most)


def rejected_file_format(*, upload: Upload) -> ListFormat | None:
    """As what the refused rows can be had, or None: there are none, or not any more."""
    return rejected_file.rejected_format_of(upload)


def write_rejected_rows(*, upload: Upload, to: BinaryIO) -> None:
    """The refused rows as they came, each with the reasons in a column `error`.

    Raises WrongUploadState once they are gone: a day after the file came at the latest.
    """
    if rejected_file.rejected_format_of(upload) is None:
        raise WrongUploadState
    rejected_file.write_rejected_file(upload, to)


def _may_be_checked(upload: Upload) -> bool:
    if upload.state in (State.UNMAPPED, State.READY):
        return True
    return upload.state == State.FAILED and files.list_file_path(upload.pk).exists()


def _remember_mapping(kind: ListKind, upload: Upload) -> None:
    RememberedMapping.objects.update_or_create(
        pk=mappings.header_signature(kind, upload.header),
        defaults={"mapping": upload.mapping, "at": timezone.now()},
    )


# --- What the worker does -------------------------------------------------------------------------


# --- What the clock does --------------------------------------------------------------------------
