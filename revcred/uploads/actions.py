"""Actions on uploads, called by the administration's pages, the API and the management command."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import BinaryIO, Literal

from django.db.transaction import atomic, on_commit
from django.utils import timezone
from django.utils.translation import gettext

from revcred.models import AuditEvent, RememberedMapping, Upload, User
from revcred.models.uploads import asker
from revcred.uploads import (
    files,
    quota,
    rejected_file,
    rights,
)
from revcred.uploads import mapping as mappings
from revcred.uploads.columns import ListKind
from revcred.uploads.files import FileTooLarge
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.moment_cells import is_time_zone
from revcred.uploads.phases import begin_phase, end_upload, locked_upload, uploads_bell
from revcred.uploads.plans.plan_subscriptions import (
    DEFAULT_KEY_PATTERN,
    KEY_PATTERN_NEEDED,
    is_key_pattern,
)
from revcred.uploads.problems import RowProblem, row_problems
from revcred.uploads.quota import NoRoom
from revcred.uploads.reading import MAX_FILE_BYTES
from revcred.uploads.rejected_file import RejectedFile
from revcred.uploads.rights import NotAllowed
from revcred.uploads.state_cells import parse_state_words

__all__ = [
    "ColumnsMissing",
    "FileTooLarge",
    "InvalidChoice",
    "NoRoom",
    "NotAllowed",
    "NothingToApply",
    "RejectedFile",
    "RowProblem",
    "SomeRowsRejected",
    "UploadChoices",
    "WrongUploadState",
    "apply_upload",
    "cancel_upload",
    "check_undoing",
    "list_row_problems",
    "receive_upload",
    "recheck_upload",
    "rejected_file_of",
    "undo_upload",
    "write_rejected_rows",
]

logger = logging.getLogger(__name__)


class FileCutOff(Exception):
    """Less or other content arrived than was announced, as if the connection had been cut."""


class InvalidChoice(Exception):
    """A choice has a text that it may not have."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"`{name}`: {message}")
        self.name, self.message = name, message


class WrongUploadState(Exception):
    """The upload is in no state for this action, usually because a page was out of date."""


class SomeRowsRejected(Exception):
    """All or nothing was asked for, and some rows are rejected."""


class NothingToApply(Exception):
    """No row creates, updates or moves anything, and none has been applied before."""


class ColumnsMissing(Exception):
    """Required columns are not mapped. `names` are revcred's names of them."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


# Fields of an upload that decide how its file is read and checked. The mapping is that of a header.
UPLOAD_SETTINGS = (
    "kind",
    "encoding",
    "delimiter",
    "header_row",
    "header",
    "mapping",
    "fixed_values",
    "choices",
)


@dataclass(frozen=True, kw_only=True)
class UploadChoices:
    """Decisions on rows that name unknown things, or things of other customers.

    "reject" rejects such rows.
    """

    customers: Literal["reject", "create"] = "reject"
    subscribers: Literal["reject", "create"] = "reject"
    subscriptions: Literal["reject", "create"] = "reject"
    product: str = ""  # external key of the product of subscriptions that are created
    plans: Literal["reject", "create"] = "reject"  # create: the product that the plan names
    # Of new subscriptions of plans. Equal ones get a number.
    plan_keys: str = DEFAULT_KEY_PATTERN
    # Between several plans in a cell, besides `|`.
    plan_separator: Literal["none", "comma", "semicolon", "slash"] = "none"
    missing_keys: Literal["reject", "generate"] = "reject"  # of new credentials
    inactive: Literal["reject", "keep"] = "reject"  # keep: suspended, revoked or expired as it is
    states: str = ""  # states of further words: "ruht = suspended, frei = active"
    # Rows with the same key, or the same name at a customer.
    duplicates: Literal["reject", "first", "last"] = "reject"
    day_order: Literal["ask", "day_first", "month_first"] = "ask"  # of dates such as 03/04/2027
    time_zone: str = "UTC"  # of moments without an offset

    def __post_init__(self) -> None:
        """Raises InvalidChoice where a text is none that the choice may have."""
        if not is_key_pattern(self.plan_keys):
            raise InvalidChoice("plan_keys", KEY_PATTERN_NEEDED)
        if not is_time_zone(self.time_zone):
            raise InvalidChoice("time_zone", gettext("This is no time zone such as Europe/Berlin."))
        try:
            parse_state_words(self.states)
        except InvalidCell as error:
            raise InvalidChoice("states", str(error)) from error

    keys_of_others: Literal["reject", "take_over"] = "reject"
    people_of_others: Literal["reject", "join"] = "reject"  # join: become members of this customer
    revoked_keys: Literal["reject", "use_again"] = "reject"


def receive_upload(
    *,
    kind: ListKind,
    file: BinaryIO,
    name: str,
    by: User | None,
    encoding: str | None = None,
    delimiter: str | None = None,
    header_row: int | None = None,
    mapping: Mapping[int, str] | None = None,
    fixed_values: Mapping[str, str] | None = None,
    choices: UploadChoices | None = None,
    like: Upload | None = None,
    announced_bytes: int | None = None,
    announced_sha256: str = "",
) -> Upload:
    """Store the file and let a worker check it.

    `mapping` names revcred's column for positions of the header; without it, columns are guessed.
    `fixed_values`: values that every row has, by column, as `mapping.parse_fixed_values` returns.
    A list `like` another one, such as its corrected rows, is read and checked with the settings of
    that upload instead.

    The state is CHECKING, then READY with a `preview`, UNMAPPED if required columns were not
    recognised, or FAILED with an `error`. Raises FileTooLarge, NoRoom, and FileCutOff if the
    content is not what was announced: the last row of a list that was cut off may end in the middle
    of a key.
    """
    quota.check_room(by=by, more=announced_bytes or 0)
    # The file is complete and on disk before the upload is committed; if the process dies between,
    # housekeeping deletes a file that no upload needs.
    receiving = files.received_file(file, most=MAX_FILE_BYTES, check_space=quota.check_space)
    with receiving as (copy, size, digest), atomic():
        # Locked, so that of two files at once each is seen by the other's check.
        if by is not None:
            User.objects.select_for_update(no_key=True).get(pk=by.pk)
            quota.check_own_room(by=by, more=size)
        if announced_bytes not in (None, size) or announced_sha256.lower() not in ("", digest):
            raise FileCutOff
        upload = Upload(
            kind=kind,
            file_name=name[-255:],
            size=size,
            digest=digest,
            encoding=encoding or "",
            delimiter=delimiter or "",
            header_row=header_row,
            mapping=mappings.without_fixed_columns(mapping or {}, fixed_values or {}),
            fixed_values=fixed_values or {},
            choices=asdict(choices or UploadChoices()),
            by=by,
            asked_from=asker("by"),
        )
        for setting in UPLOAD_SETTINGS if like else ():
            setattr(upload, setting, getattr(like, setting))
        upload.save()
        details = {"digest": digest, "bytes": size}
        AuditEvent.objects.record(AuditEvent.Verb.UPLOADED, target=upload, by=by, details=details)
        copy.rename(files.list_file_path(upload.pk))
        on_commit(uploads_bell.ring)
    return upload


def recheck_upload(
    *,
    upload: Upload,
    by: User | None,
    mapping: Mapping[int, str] | None = None,
    fixed_values: Mapping[str, str] | None = None,
    choices: UploadChoices | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    header_row: int | None = None,
) -> None:
    """Let a worker check the upload again with other settings; None keeps a setting.

    `header_row`: the number of the row that names the columns; 0 lets it be recognised.

    A mapping is remembered for files with the same header. Raises ColumnsMissing; and
    WrongUploadState unless the upload is UNMAPPED or READY, or its file could not be read.
    """
    kind = ListKind(upload.kind)
    fixed_values = upload.fixed_values if fixed_values is None else fixed_values
    if mapping is not None and (missing := mappings.missing_columns(kind, mapping, fixed_values)):
        raise ColumnsMissing(missing)
    with locked_upload(upload):
        if not _may_be_checked(upload):
            raise WrongUploadState
        if encoding is not None or delimiter is not None or header_row is not None:
            upload.encoding = encoding if encoding is not None else upload.encoding
            upload.delimiter = delimiter if delimiter is not None else upload.delimiter
            upload.header_row = header_row or None if header_row is not None else upload.header_row
            upload.mapping = {}  # the file may have other columns when it is read this way
        if mapping is not None:
            upload.mapping = {str(position): name for position, name in mapping.items()}
        upload.mapping = mappings.without_fixed_columns(upload.mapping, fixed_values)
        upload.fixed_values = fixed_values
        if choices is not None:
            upload.choices = asdict(choices)
        if upload.mapping and (mapping is not None or choices is not None):
            _remember_mapping(kind, upload)
        upload.state, upload.error, upload.preview = Upload.State.CHECKING, "", {}
        upload.is_staged = False
        begin_phase(upload)


def apply_upload(*, upload: Upload, by: User, all_or_nothing: bool) -> None:
    """Let a worker apply the rows that are not rejected, or all or nothing.

    Raises SomeRowsRejected if all rows are asked for and some are rejected, NothingToApply,
    WrongUploadState unless the upload is READY, and NotAllowed if the person lacks rights that it
    takes (see `uploads.rights`; the worker asks again).
    """
    with locked_upload(upload):
        if upload.state != Upload.State.READY:
            raise WrongUploadState
        counts = upload.preview["counts"]
        to_do = sum(counts[action] for action in ("create", "update", "move"))
        if all_or_nothing and counts["rejected"]:
            raise SomeRowsRejected
        # Applying a list again changes nothing, which is what was asked for.
        if not (to_do or counts["unchanged"]):
            raise NothingToApply
        if missing := rights.missing_rights_to_apply(upload, by):
            raise NotAllowed(missing)
        upload.state, upload.all_or_nothing, upload.applied_by = (
            Upload.State.APPLYING,
            all_or_nothing,
            by,
        )
        upload.asked_from |= asker("applied_by")
        upload.applied_at = timezone.now()
        begin_phase(upload, to_do=to_do)


def cancel_upload(*, upload: Upload, by: User | None) -> None:
    """Cancel the upload. One that is being applied stops at the end of a chunk.

    Rows that were applied by then stay, unless it is all or nothing. Raises WrongUploadState if
    the upload has ended, or is being undone.
    """
    with locked_upload(upload):
        if upload.state not in Upload.WITH_FILE:
            raise WrongUploadState
        upload.cancel_asked_at, upload.cancelled_by = timezone.now(), by
        upload.asked_from |= asker("cancelled_by")
        # If a worker is at it, the worker ends it; it looks for this after each chunk.
        if not upload.is_under_way:
            upload.state = Upload.State.CANCELLED
        upload.save()
    if upload.state == Upload.State.CANCELLED:
        end_upload(upload, Upload.State.CANCELLED)
    else:
        uploads_bell.ring()


def check_undoing(*, upload: Upload) -> None:
    """Let a worker tell what undoing the upload does: see `Upload.undo_preview`.

    Raises WrongUploadState unless the upload has ended and has changed something.
    """
    with locked_upload(upload):
        _begin_undo_phase(upload, Upload.State.UNDO_CHECK, keep_depended=False)


def undo_upload(*, upload: Upload, by: User, keep_depended: bool = False) -> None:
    """Let a worker undo all changes of the upload. This takes the rights that making them took.

    If something depends on changes by then, nothing is undone, and `Upload.undo_preview` says what
    it is; or all others are undone, if `keep_depended` is true. Raises NotAllowed, and
    WrongUploadState unless the upload has ended and has changed something.
    """
    if missing := rights.missing_rights_to_undo(upload, by):
        raise NotAllowed(missing)
    with locked_upload(upload):
        _begin_undo_phase(upload, Upload.State.UNDOING, keep_depended=keep_depended)
        upload.undone_by, upload.error = by, ""
        upload.asked_from |= asker("undone_by")
        upload.save(update_fields=["undone_by", "error", "asked_from"])


def _begin_undo_phase(upload: Upload, state: Upload.State, *, keep_depended: bool) -> None:
    if not upload.may_be_undone or not upload.changes.exists():
        raise WrongUploadState
    upload.undo_preview = {"from": upload.state, "error": upload.error, "keeps": keep_depended}
    upload.state = state
    begin_phase(upload)


def list_row_problems(*, upload: Upload, after: int = 0, most: int = 100) -> list[RowProblem]:
    """Return the problems of at most `most` rejected rows after the row `after`, in their order.

    A row may have several. Empty before the check, and from a day after the end on.
    """
    return row_problems(upload, after=after, most=most)


def rejected_file_of(*, upload: Upload) -> RejectedFile | None:
    """Return the file in which rejected rows can be downloaded; None if they cannot."""
    return rejected_file.rejected_file_of(upload)


def write_rejected_rows(*, upload: Upload, to: BinaryIO) -> None:
    """Write the rejected rows as they stand in the file, each with a column `error`.

    The column has the number of the row and its problems. Raises WrongUploadState if they have been
    deleted: at the latest a day after the upload.
    """
    if rejected_file.rejected_file_of(upload) is None:
        raise WrongUploadState
    rejected_file.write_rejected_file(upload, to)


def _may_be_checked(upload: Upload) -> bool:
    if upload.state in (Upload.State.UNMAPPED, Upload.State.READY):
        return True
    return upload.state == Upload.State.FAILED and files.list_file_path(upload.pk).exists()


def _remember_mapping(kind: ListKind, upload: Upload) -> None:
    RememberedMapping.objects.update_or_create(
        pk=mappings.header_signature(kind, upload.header),
        defaults={
            "mapping": upload.mapping,
            "fixed_values": upload.fixed_values,
            "choices": upload.choices,
            "at": timezone.now(),
        },
    )
