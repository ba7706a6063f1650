import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from revcred.models import Product, Upload, User
from revcred.uploads import actions, mapping, rights
from revcred.uploads.actions import UploadChoices
from revcred.uploads.columns import InvalidCell, ListKind, columns_by_name
from revcred.uploads.doors.template_tags import lasting
from revcred.uploads.reading import (
    DELIMITER_TITLES,
    KNOWN_ENCODINGS,
    RowError,
    UnreadableFile,
    open_list,
)
from revcred.uploads.worker import process_waiting_uploads

State = Upload.State

SOME_REFUSED, NOT_DONE, INTERRUPTED = 1, 2, 130
PROBLEMS_SHOWN = 10  # refused rows
GUESS_SAMPLE_ROWS = 20  # rows that columns are guessed by
POLL_PAUSE_SECONDS = 0.2  # seconds between two looks at what another process works on
BAR_WIDTH_CHARACTERS = 30  # characters of the bar
DELIMITERS_BY_TITLE = {name: delimiter for delimiter, name in DELIMITER_TITLES.items()}


class Command(BaseCommand):
    help = (
        "Upload a list: see what it would do (--check), or do it (--apply). Ends with 0 if no row "
        "was refused, 1 if some were, 2 if nothing could be done, 130 if it was interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="CSV, XLSX, JSON, JSON Lines, or decK's YAML.")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--check", action="store_true", help="Say what it would do.")
        what.add_argument("--apply", action="store_true", help="Apply the rows that are good.")
        parser.add_argument("--kind", choices=[*ListKind], default=ListKind.CREDENTIALS)
        parser.add_argument(
            "--all-or-nothing", action="store_true", help="With --apply: only if no row is refused."
        )
        parser.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="HEADER=COLUMN",
            help="Which column is which, where it is not told rightly; HEADER= leaves it out.",
        )
        parser.add_argument(
            "--for-all",
            action="append",
            default=[],
            metavar="COLUMN=VALUE",
            help="What every row has, where no column of the file says it: customer=acme.",
        )
        parser.add_argument("--create-customers", action="store_true")
        parser.add_argument("--create-subscribers", action="store_true")
        parser.add_argument(
            "--create-subscriptions", metavar="PRODUCT", help="Of this product's external key."
        )
        parser.add_argument(
            "--take-over", action="store_true", help="Move keys of other customers to these."
        )
        parser.add_argument(
            "--join-people-of-others",
            action="store_true",
            help="Let people who belong to other customers become members.",
        )
        parser.add_argument(
            "--use-revoked-keys-again",
            action="store_true",
            help="Let keys that revoked credentials had count again, from now on.",
        )
        parser.add_argument("--encoding", choices=[*KNOWN_ENCODINGS])
        parser.add_argument("--delimiter", choices=[*DELIMITERS_BY_TITLE])
        parser.add_argument(
            "--refused", type=Path, metavar="FILE", help="Write the refused rows there."
        )
        parser.add_argument(
            "--by",
            metavar="EMAIL",
            help="On whose behalf. Needed with --apply, which does what this person may do.",
        )
        parser.add_argument("--progress", action=BooleanOptionalAction, default=None)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        self.bar = ProgressBar(self.stderr, shown=options["progress"])
        by = _user_by_email(options["by"])
        if options["apply"] and by is None:
            message = "Say on whose behalf: --by EMAIL. It does what that person may do."
            raise CommandError(message, returncode=NOT_DONE)
        upload = self._receive(file, by, options)
        try:
            with self._cancelled_if_interrupted(upload, by):
                self._work(upload)
                self._stop_unless_ready(upload)
                refused = self._tell_preview(upload, by)
                if options["apply"] and by:
                    refused = self._apply(upload, by, whole=options["all_or_nothing"])
                if refused and options["refused"]:
                    self._write_refused(upload, options["refused"])
        finally:
            upload.refresh_from_db()
            if upload.state in (State.UNMAPPED, State.READY):
                actions.cancel_upload(upload=upload, by=by)
        if refused:
            sys.exit(SOME_REFUSED)

    def _receive(self, path: Path, by: User | None, said: dict[str, Any]) -> Upload:
        delimiter = said["delimiter"] and DELIMITERS_BY_TITLE[said["delimiter"]]
        choices, for_all = (
            _choices_from_options(said),
            _fixed_values_from_options(ListKind(said["kind"]), said["for_all"]),
        )
        try:
            mapped = _mapping_from_options(
                path, ListKind(said["kind"]), said["column"], said["encoding"], delimiter
            )
            with path.open("rb") as file:
                return actions.receive_upload(
                    kind=ListKind(said["kind"]),
                    file=file,
                    name=path.name,
                    by=by,
                    encoding=said["encoding"],
                    delimiter=delimiter,
                    mapping=mapped,
                    for_all=for_all,
                    choices=choices,
                )
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", returncode=NOT_DONE) from error
        except UnreadableFile as error:
            raise CommandError(str(error), returncode=NOT_DONE) from error
        except actions.FileTooLarge as error:
            raise CommandError("The file is too large.", returncode=NOT_DONE) from error

    @contextmanager
    def _cancelled_if_interrupted(self, upload: Upload, by: User | None) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.bar.clear()
            try:
                actions.cancel_upload(upload=upload, by=by)
            except actions.WrongUploadState:
                sys.exit(INTERRUPTED)
            self.stderr.write("It stops at the end of a row …")
            self._work(upload)
            self.stderr.write(f"Interrupted: {_outcome_text(upload) or 'nothing was written'}.")
            sys.exit(INTERRUPTED)

    def _work(self, upload: Upload) -> None:
        """In this process, unless another has begun with it."""
        while True:
            process_waiting_uploads(only=upload, on_progress=self.bar.show)
            upload.refresh_from_db()
            self.bar.show(upload)
            if not upload.is_under_way:
                break
            time.sleep(POLL_PAUSE_SECONDS)
        self.bar.clear()

    def _stop_unless_ready(self, upload: Upload) -> None:
        if upload.state == State.UNMAPPED:
            known = {int(position): name for position, name in upload.mapping.items()}
            missing = ", ".join(
                mapping.missing_columns(ListKind(upload.kind), known, upload.for_all)
            )
            headers = ", ".join(upload.header)
            raise CommandError(
                f"No column was found for: {missing}. Say which it is with --column HEADER=COLUMN,"
                " or what every row has with --for-all COLUMN=VALUE."
                f" The file has: {headers}.",
                returncode=NOT_DONE,
            )
        if upload.state != State.READY:
            raise CommandError(upload.error or upload.get_state_display(), returncode=NOT_DONE)

    def _tell_members(self, members: dict[str, Any]) -> None:
        """Say who would become a member: all people of other customers are named, or the first."""
        if members["count"]:
            self.stdout.write(f"{members['count']:,} people would become members of a customer.")
        for each in members["people"]:
            if each["is_of_another"]:
                belongs = ", ".join(each["belongs_to"]) or "no customer yet"
                verb = "is refused as" if each["is_refused"] else "would become"
                self.stdout.write(
                    f"{each['email']} (domain {each['domain']}, belongs to {belongs}) {verb} "
                    f"{each['role']} of {each['customer']}."
                )
        shown = sum(each["is_of_another"] for each in members["people"])
        if members["of_others"] > shown:
            self.stdout.write(f"… {members['of_others']:,} people of other customers in all.")

    def _tell_preview(self, upload: Upload, by: User | None) -> int:
        preview = upload.preview
        counts = ", ".join(f"{preview['counts'][each]:,} {each}" for each in Upload.Action.values)
        self.stdout.write(f"{upload.shape}. {upload.total:,} rows: {counts}.")
        for name, count in preview["adds"].items():
            if count:
                self.stdout.write(f"Besides, {count:,} {name} would be created.")
        self._tell_members(preview["members"])
        if by:
            for lacking in rights.missing_rights_to_apply(upload, by):
                self.stderr.write(f"{by} may not {lacking}.")
        if preview["claim"] and preview["claim"]["transactions"]:
            waiting = preview["claim"]["transactions"]
            self.stdout.write(f"{waiting:,} transactions in quarantine would be claimed.")
        for each in actions.list_row_problems(upload=upload, most=PROBLEMS_SHOWN):
            value = f" {each.hint}" if each.hint else ""
            place = f", {each.column}{value}" if each.column else ""
            self.stderr.write(f"Row {each.row:,}{place}: {each.message}")
        refused = int(preview["counts"]["refused"])
        if refused > PROBLEMS_SHOWN:
            self.stderr.write(f"… {refused:,} rows are refused; --refused FILE writes all of them.")
        return refused

    def _apply(self, upload: Upload, by: User, *, whole: bool) -> int:
        """Returns how many rows are refused by then."""
        refused = int(upload.preview["counts"]["refused"])
        try:
            actions.apply_upload(upload=upload, by=by, all_or_nothing=whole)
        except actions.SomeRowsRejected as error:
            message = "Nothing was applied: all or nothing, and some rows are refused."
            raise CommandError(message, returncode=NOT_DONE) from error
        except actions.NotAllowed as error:
            message = f"Nothing was applied. {by} lacks rights. {error}"
            raise CommandError(message, returncode=NOT_DONE) from error
        except actions.NothingToApply:
            self.stdout.write("Nothing to apply.")
            return refused
        self._work(upload)
        if upload.state != State.APPLIED:
            said = upload.error or upload.get_state_display()
            raise CommandError(f"{said} {_outcome_text(upload)}".strip(), returncode=NOT_DONE)
        assert upload.took
        self.stdout.write(f"Applied: {_outcome_text(upload)}, in {lasting(upload.took)}.")
        return refused + int(upload.outcome.get("meanwhile", 0))

    def _write_refused(self, upload: Upload, path: Path) -> None:
        try:
            with path.open("wb") as file:
                actions.write_rejected_rows(upload=upload, to=file)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", returncode=NOT_DONE) from error
        self.stdout.write(f"The refused rows are in {path}.")


class ProgressBar:
    """How far it is, in one line that is written over; nothing where nobody looks."""

    def __init__(self, to: Any, *, shown: bool | None) -> None:
        self._to = to
        self._shown = to.isatty() if shown is None else shown
        self._width = 0

    def show(self, upload: Upload) -> None:
        if not self._shown or not upload.is_under_way:
            return
        progress = upload.progress(timezone.now())
        full = round(progress.fraction * BAR_WIDTH_CHARACTERS)
        parts = [
            f"{upload.get_state_display().capitalize():9}",
            f"{'█' * full}{'░' * (BAR_WIDTH_CHARACTERS - full)} {progress.fraction:4.0%}",
            f"{progress.done:,} rows",
            f"{progress.rate:,.0f} a second",
        ]
        if progress.left is not None:
            parts.append(f"{lasting(progress.left)} left")
        self._write("  ".join(parts))

    def clear(self) -> None:
        if self._width:
            self._write("")
            self._width = 0

    def _write(self, line: str) -> None:
        self._to.write(f"\r{line:{self._width}}\r{line}", ending="")
        self._to.flush()
        self._width = len(line)


def _user_by_email(email: str | None) -> User | None:
    if email is None:
        return None
    user = User.objects.filter(email=email.lower()).first()
    if user is None:
        raise CommandError(f"Nobody signs in as {email}.", returncode=NOT_DONE)
    return user


def _choices_from_options(said: dict[str, Any]) -> UploadChoices:
    product = said["create_subscriptions"]
    if product and not Product.objects.filter(external_key=product).exists():
        raise CommandError(f"There is no product {product}.", returncode=NOT_DONE)
    return UploadChoices(
        customers="create" if said["create_customers"] else "refuse",
        subscribers="create" if said["create_subscribers"] else "refuse",
        subscriptions="create" if product else "refuse",
        product=product or "",
        keys_of_others="take_over" if said["take_over"] else "refuse",
        people_of_others="join" if said["join_people_of_others"] else "refuse",
        revoked_keys="use_again" if said["use_revoked_keys_again"] else "refuse",
    )


def _fixed_values_from_options(kind: ListKind, said: list[str]) -> dict[str, str]:
    try:
        return mapping.parse_fixed_values(kind, dict(_split_assignment(each) for each in said))
    except InvalidCell as error:
        raise CommandError(f"--for-all {error}", returncode=NOT_DONE) from error


def _split_assignment(said: str) -> tuple[str, str]:
    name, _, value = said.partition("=")
    return name, value


def _mapping_from_options(
    path: Path, kind: ListKind, said: list[str], encoding: str | None, delimiter: str | None
) -> dict[int, str] | None:
    """What is guessed, but for what is said; None if nothing is. Raises UnreadableFile, OSError."""
    if not said:
        return None
    with open_list(path, name=path.name, encoding=encoding, delimiter=delimiter) as read:
        sample = [
            cells
            for _, (_, cells) in zip(range(GUESS_SAMPLE_ROWS), read.rows, strict=False)
            if not isinstance(cells, RowError)
        ]
        mapped = mapping.guess_mapping(kind, read.header, sample)
        header = read.header
    for each in said:
        name, _, column = each.rpartition("=")
        if name not in header:
            raise CommandError(f"The file has no column “{name}”.", returncode=NOT_DONE)
        if column and column not in columns_by_name(kind):
            ours = ", ".join(columns_by_name(kind))
            raise CommandError(f"“{column}” is none of {ours}.", returncode=NOT_DONE)
        mapped.pop(header.index(name), None)
        mapped = {at: known for at, known in mapped.items() if known != column}
        if column:
            mapped[header.index(name)] = column
    return mapped


def _outcome_text(upload: Upload) -> str:
    words = {"create": "created", "update": "updated", "move": "moved"}
    counted = [f"{n:,} {words[each]}" for each, n in upload.outcome.items() if each in words and n]
    return ", ".join(counted)
