"""What people and the clock do with uploads: the same acts for pages, API and command."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import BinaryIO, Literal

from django.db import InterfaceError, OperationalError, connection
from django.db.transaction import atomic, on_commit
from django.utils import timezone

from revcred.bell import Bell
from revcred.links import announce
from revcred.models import AuditEvent, RememberedMapping, Upload, User
from revcred.models.uploads import FILE_KEPT
from revcred.uploads import applying, checking, files, notices, refused, rights, staging, undoing
from revcred.uploads import mapping as mappings
from revcred.uploads.checking import Cancelled
from revcred.uploads.columns import Kind
from revcred.uploads.files import TooLarge
from revcred.uploads.reading import MAX_FILE_BYTES, UnreadableFile
from revcred.uploads.refusals import Refusal
from revcred.uploads.refusals import of as refusals_of
from revcred.uploads.rights import NotAllowed
from revcred.uploads.sealing import FileChanged
from revcred.uploads.undoing import Dependent
from revcred.uploads.writing import ListFormat

__all__ = [
    "Choices",
    "ColumnsMissing",
    "Depended",
    "Dependent",
    "NotAllowed",
    "NotNow",
    "NothingToApply",
    "Refusal",
    "SomeRefused",
    "TooLarge",
    "apply",
    "cancel",
    "check",
    "dependents",
    "receive",
    "refusals",
    "refused_format",
    "remove_abandoned_files",
    "remove_abandoned_files_at_start",
    "sweep",
    "tidy",
    "undo",
    "work",
    "write_refused",
]

logger = logging.getLogger(__name__)

State, Verb = Upload.State, AuditEvent.Verb

TRIES = 10  # of one that breaks off without having come any further
MINE = 0x10AD  # advisory; one worker at an upload

bell = Bell("revcred.uploads")


class NotNow(Exception):
    """The upload is not in the state for that: its page was out of date."""


class SomeRefused(Exception):
    """All or nothing was asked for, and some rows are refused."""


class NothingToApply(Exception):
    """No row creates, updates or moves anything."""


class ColumnsMissing(Exception):
    """Required columns are not mapped. Its `names` are ours."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class Depended(Exception):
    """Something later depends on what the upload did."""

    def __init__(self, dependents: list[Dependent]) -> None:
        super().__init__("; ".join(each.reason for each in dependents))
        self.dependents = dependents


class _Stopped(Exception):
    """The worker is asked to end. Another goes on."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What to do about rows that name what is not there, or what is somebody else's."""

    customers: Literal["refuse", "create"] = "refuse"
    subscribers: Literal["refuse", "create"] = "refuse"
    subscriptions: Literal["refuse", "create"] = "refuse"
    product: str = ""  # of subscriptions that are created: its external key
    keys_of_others: Literal["refuse", "take_over"] = "refuse"
    people_of_others: Literal["refuse", "join"] = "refuse"  # who would become members
    revoked_keys: Literal["refuse", "use_again"] = "refuse"


# --- What people do -------------------------------------------------------------------------------


def receive(
    *,
    kind: Kind,
    file: BinaryIO,
    name: str,
    by: User | None,
    encoding: str | None = None,
    delimiter: str | None = None,
    mapping: Mapping[int, str] | None = None,
    for_all: Mapping[str, str] | None = None,
    choices: Choices | None = None,
) -> Upload:
    """Keep the file and have it checked in the background. Without a mapping one is guessed.

    `for_all` is what every row has, by column, as `mapping.for_all` gives it.

    Raises TooLarge. `Upload.state` is CHECKING, then READY with its `preview`, UNMAPPED if
    required columns could not be told, or FAILED with its `error`.
    """
    with files.taken(file, most=MAX_FILE_BYTES) as (copy, size, digest), atomic():
        upload = Upload.objects.create(
            kind=kind,
            file_name=name[-255:],
            size=size,
            digest=digest,
            encoding=encoding or "",
            delimiter=delimiter or "",
            mapping=mappings.besides(mapping or {}, for_all or {}),
            for_all=for_all or {},
            choices=asdict(choices or Choices()),
            by=by,
        )
        details = {"digest": digest, "bytes": size}
        AuditEvent.objects.record(Verb.UPLOADED, target=upload, by=by, details=details)
        copy.rename(files.path_of(upload.pk))
        on_commit(bell.ring)
    return upload


def check(
    *,
    upload: Upload,
    by: User | None,
    mapping: Mapping[int, str] | None = None,
    for_all: Mapping[str, str] | None = None,
    choices: Choices | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> None:
    """Have it checked again, as said now; what is None stays. A mapping is remembered.

    Raises NotNow unless it is UNMAPPED or READY, or could not be read; ColumnsMissing.
    """
    kind = Kind(upload.kind)
    for_all = upload.for_all if for_all is None else for_all
    if mapping is not None and (missing := mappings.missing(kind, mapping, for_all)):
        raise ColumnsMissing(missing)
    with _changing(upload):
        if not _may_be_checked(upload):
            raise NotNow
        if encoding is not None or delimiter is not None:
            upload.encoding = encoding if encoding is not None else upload.encoding
            upload.delimiter = delimiter if delimiter is not None else upload.delimiter
            upload.mapping = {}  # other columns may come out of it
        if mapping is not None:
            upload.mapping = {str(position): name for position, name in mapping.items()}
            _remember(kind, upload)
        upload.mapping = mappings.besides(upload.mapping, for_all)
        upload.for_all = for_all
        if choices is not None:
            upload.choices = asdict(choices)
        upload.state, upload.error, upload.preview = State.CHECKING, "", {}
        upload.is_staged = False
        _begin(upload)


def apply(*, upload: Upload, by: User, whole: bool) -> None:
    """Have it applied in the background: `whole` is all or nothing, else the good rows.

    Raises NotNow unless it is READY, SomeRefused, NothingToApply; NotAllowed if `by` has not all
    the rights that it takes (see `uploads.rights`), which the worker asks again.
    """
    with _changing(upload):
        if upload.state != State.READY:
            raise NotNow
        counts = upload.preview["counts"]
        to_do = sum(counts[each] for each in ("create", "update", "move"))
        if whole and counts["refused"]:
            raise SomeRefused
        if not to_do:
            raise NothingToApply
        if missing := rights.missing_to_apply(upload, by):
            raise NotAllowed(missing)
        upload.state, upload.whole, upload.applied_by = State.APPLYING, whole, by
        upload.applied_at = timezone.now()
        _begin(upload, to_do=to_do)


def cancel(*, upload: Upload, by: User | None) -> None:
    """Before it is applied: for good. While it is: at the end of a row, and what was done stays.

    Raises NotNow if it has ended, or is being undone.
    """
    with _changing(upload):
        if upload.state not in Upload.WITH_FILE:
            raise NotNow
        upload.cancel_asked_at, upload.cancelled_by = timezone.now(), by
        if not upload.is_under_way:
            upload.state = State.CANCELLED
        upload.save()
    if upload.state == State.CANCELLED:
        _end(upload, State.CANCELLED)
    else:
        bell.ring()


def dependents(*, upload: Upload) -> list[Dependent]:
    """What keeps some of it from being undone, as far as can be told now."""
    return undoing.dependents(upload)


def undo(*, upload: Upload, by: User) -> None:
    """Have all it did undone in the background. It takes the rights that doing it took.

    Raises NotNow unless it did anything and has ended, NotAllowed, Depended.
    """
    if upload.state not in Upload.UNDOABLE or not upload.changes.exists():
        raise NotNow
    if missing := rights.missing_to_undo(upload, by):
        raise NotAllowed(missing)
    if found := dependents(upload=upload):
        raise Depended(found)
    with _changing(upload):
        if upload.state not in Upload.UNDOABLE:
            raise NotNow
        upload.state, upload.undone_by, upload.error = State.UNDOING, by, ""
        _begin(upload, to_do=upload.changes.count())


def refusals(*, upload: Upload, after: int = 0, most: int = 100) -> list[Refusal]:
    """Of so many rows after that one, in their order; a row with several reasons has several.

    Empty before it was checked, and a day after it ended.
    """
    return refusals_of(upload, after=after, most=most)


def refused_format(*, upload: Upload) -> ListFormat | None:
    """As what the refused rows can be had, or None: there are none, or not any more."""
    return refused.format_of(upload)


def write_refused(*, upload: Upload, to: BinaryIO) -> None:
    """The refused rows as they came, each with the reasons in a column `error`.

    Raises NotNow once they are gone: a day after the file came at the latest.
    """
    if refused.format_of(upload) is None:
        raise NotNow
    refused.write(upload, to)


def _may_be_checked(upload: Upload) -> bool:
    if upload.state in (State.UNMAPPED, State.READY):
        return True
    return upload.state == State.FAILED and files.path_of(upload.pk).exists()


def _remember(kind: Kind, upload: Upload) -> None:
    RememberedMapping.objects.update_or_create(
        pk=mappings.signature(kind, upload.header),
        defaults={"mapping": upload.mapping, "at": timezone.now()},
    )


@contextmanager
def _changing(upload: Upload) -> Iterator[None]:
    """In one transaction, with the upload as it is now, and nobody else changing it."""
    with atomic():
        upload.refresh_from_db(from_queryset=Upload.objects.select_for_update(no_key=True))
        yield


def _begin(upload: Upload, *, to_do: int | None = None) -> None:
    """From its first row on, as soon as a worker hears of it."""
    upload.to_do, upload.done, upload.done_before, upload.after = to_do, 0, 0, 0
    upload.fraction, upload.began_at, upload.tries = 0.0, None, 0
    upload.cancel_asked_at = None
    upload.save()
    on_commit(bell.ring)


# --- What the worker does -------------------------------------------------------------------------


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


def _end(upload: Upload, state: Upload.State, error: str = "") -> None:
    """What it did is announced and on record in the transaction that says so."""
    did = upload.is_under_way and upload.state != State.CHECKING
    if did:
        refused.keep(upload)
    with _changing(upload):
        before = upload.state
        upload.state, upload.error = state, error[:1000]
        upload.ended_at = timezone.now()
        upload.is_staged = upload.is_staged and did
        upload.save()
        _record(upload, before)
        if before == State.APPLYING:
            notices.tell(upload)
        if did and upload.changes.exists():
            verb = "was undone" if before == State.UNDOING else "was applied"
            announce(
                f"upload {upload.pk} of “{upload.file_name[:100]}” {verb}",
                upload=upload,
                since=upload.since,
                by=upload.undone_by if before == State.UNDOING else upload.applied_by,
            )
    if state != State.FAILED or did:
        files.path_of(upload.pk).unlink(missing_ok=True)
    if not did:
        staging.drop(upload.pk)


def _record(upload: Upload, before: str) -> None:
    verb, by = {
        State.APPLIED: (Verb.APPLIED, upload.applied_by),
        State.CANCELLED: (Verb.CANCELLED, upload.cancelled_by),
        State.UNDONE: (Verb.UNDONE, upload.undone_by),
    }.get(State(upload.state), (Verb.CHANGED, upload.by))
    details = {"digest": upload.digest, "from": before} | upload.outcome
    AuditEvent.objects.record(verb, target=upload, by=by, details=details)


# --- What the clock does --------------------------------------------------------------------------


def sweep() -> None:
    """Ring for what waits, unless a worker is at one: it goes on with the others by itself."""
    if Upload.objects.waiting().exists() and not _somebody_works():
        bell.ring()


def _somebody_works() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
            [MINE],
        )
        (works,) = cursor.fetchone()
    return bool(works)


def tidy() -> None:
    """Delete what is a day old: files, and what was staged. Nothing is deleted under a worker."""
    old = timezone.now() - FILE_KEPT
    resting = (State.UNMAPPED, State.READY)
    for upload in Upload.objects.filter(state__in=resting, created_at__lt=old):
        cancel(upload=upload, by=None)
    for path, number in files.stored():
        if number is not None and files.age_of(path) > FILE_KEPT.total_seconds():
            under_way = Upload.objects.filter(pk=number, state__in=Upload.UNDER_WAY)
            if not under_way.exists():
                path.unlink(missing_ok=True)
    remove_abandoned_files()
    for upload in Upload.objects.filter(is_staged=True, ended_at__lt=old):
        staging.drop(upload.pk)
        Upload.objects.filter(pk=upload.pk).update(is_staged=False)


def remove_abandoned_files(*, older_than: float = files.ABANDONED_SECONDS) -> int:
    """Delete the files that processes left behind which died, and return how many.

    They hold keys in clear: lists that were still being received, or whose upload was never
    committed, or has ended. A start of a process asks for all of them (`older_than=0`).
    """
    removed = 0
    for path, number in files.stored():
        if older_than and files.age_of(path) < older_than:
            continue
        removed += files.remove_if_abandoned(path, partial(_is_over, path, number))
    if removed:
        logger.warning("Deleted %s files that nobody was uploading any more", removed)
    return removed


def remove_abandoned_files_at_start() -> None:
    """As `remove_abandoned_files`, of any age. If the database is away, the clock does it later."""
    try:
        remove_abandoned_files(older_than=0)
    except (OperationalError, InterfaceError) as error:
        logger.warning("The database is away: %s", type(error).__name__)


def _is_over(path: Path, number: int | None) -> bool:
    """Return whether no upload needs this file, its list or the rows that were refused."""
    if number is None:
        return True
    upload = Upload.objects.filter(pk=number).first()
    if upload is None:
        return True
    if upload.is_under_way or path != files.path_of(number):
        return False  # all or nothing that is taken back writes its refused rows at the end
    return upload.file_kept_until is None
