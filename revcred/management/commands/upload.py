"""Upload a list from the command line: check it, or apply it, and show the progress."""

import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from revcred.metering_port import RECENT_CALLS_DAYS
from revcred.models import Product, Upload, User
from revcred.uploads import actions, mapping, rights, trial
from revcred.uploads.actions import UploadChoices
from revcred.uploads.checking import MAPPING_SAMPLE_ROWS
from revcred.uploads.columns import ListKind, columns_by_name
from revcred.uploads.doors.template_tags import duration
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.moment_cells import DayOrder
from revcred.uploads.reading import (
    DELIMITER_TITLES,
    KNOWN_ENCODINGS,
    RowError,
    UnreadableFile,
    open_list,
)
from revcred.uploads.steps import progress_of
from revcred.uploads.worker import process_waiting_uploads

# Exit codes. 130 is what shells give for a program that SIGINT ended.
SOME_REJECTED, NOT_DONE, INTERRUPTED = 1, 2, 130
PROBLEMS_SHOWN = 10  # rejected rows whose problems are printed
POLL_PAUSE_SECONDS = 0.2  # while another process works on the upload
BAR_WIDTH_CHARACTERS = 30
# Options that decide how a file is read and checked.
SETTING_OPTIONS = (
    *("kind", "column", "fixed_value", "encoding", "delimiter", "create_customers"),
    *("create_subscribers", "create_subscriptions", "take_over", "join_people_of_others"),
    *("use_revoked_keys_again", "create_plans", "plan_keys", "generate_keys", "keep_inactive"),
    *("states", "day_order", "time_zone", "duplicates", "header_row", "plan_separator"),
)
DELIMITERS_BY_TITLE = {name: delimiter for delimiter, name in DELIMITER_TITLES.items()}


class Command(BaseCommand):
    help = (
        "Upload a list: see what it would do (--check), or apply it (--apply). Exit codes: 0 if no "
        "row was rejected, 1 if some were, 2 if nothing was done, 130 if it was interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", type=Path, help="CSV, XLSX, JSON, JSON Lines, YAML or a Markdown table."
        )
        mode = parser.add_mutually_exclusive_group(required=True)
        mode.add_argument("--check", action="store_true", help="Show what the list would do.")
        mode.add_argument(
            "--apply", action="store_true", help="Apply the rows that are not rejected."
        )
        parser.add_argument(
            "--kind",
            choices=[*ListKind],
            help=f"{ListKind.CREDENTIALS}, unless you choose another.",
        )
        parser.add_argument(
            "--all-or-nothing",
            action="store_true",
            help="With --apply: apply only if no row is rejected.",
        )
        parser.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="HEADER=COLUMN",
            help="The column for a header that is not recognised; HEADER= leaves it out.",
        )
        parser.add_argument(
            "--fixed-value",
            action="append",
            default=[],
            metavar="COLUMN=VALUE",
            help="What every row has, where no column of the file says it: customer=acme.",
        )
        parser.add_argument("--create-customers", action="store_true")
        parser.add_argument("--create-subscribers", action="store_true")
        parser.add_argument(
            "--create-subscriptions",
            metavar="PRODUCT",
            nargs="?",
            const="",
            help="Of this product's external key; without one, of the plans that rows name.",
        )
        parser.add_argument(
            "--create-plans", action="store_true", help="Make products of unknown plans."
        )
        parser.add_argument(
            "--plan-keys",
            metavar="PATTERN",
            help="Of external keys of new subscriptions of plans: {customer}-{plan}.",
        )
        parser.add_argument(
            "--generate-keys",
            action="store_true",
            help="Generate a key for each new credential that has none.",
        )
        parser.add_argument(
            "--keep-inactive",
            action="store_true",
            help="Bring credentials that are suspended, revoked or expired in this state.",
        )
        parser.add_argument("--states", metavar="WORDS", help="States of words: ruht=suspended.")
        parser.add_argument(
            "--day-order",
            choices=[*DayOrder],
            help="Of dates that can be read two ways, such as 03/04/2027.",
        )
        parser.add_argument("--time-zone", help="Of moments without an offset.")
        parser.add_argument(
            "--plan-separator",
            choices=["none", "comma", "semicolon", "slash"],
            help="What separates several plans in a cell, besides |.",
        )
        parser.add_argument(
            "--duplicates",
            choices=["reject", "first", "last"],
            help="Which of the rows that say the same key or name is kept.",
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
            help="Let keys of revoked credentials count again, from now on.",
        )
        parser.add_argument("--encoding", choices=[*KNOWN_ENCODINGS])
        parser.add_argument("--delimiter", choices=[*DELIMITERS_BY_TITLE])
        parser.add_argument(
            "--header-row", type=int, metavar="NUMBER", help="The row that names the columns."
        )
        parser.add_argument(
            "--rejected", type=Path, metavar="FILE", help="Write the rejected rows to this file."
        )
        parser.add_argument(
            "--by",
            metavar="EMAIL",
            help="The staff member on whose behalf it is done, with this person's rights. Required "
            "with --apply.",
        )
        parser.add_argument(
            "--like",
            type=int,
            metavar="NUMBER",
            help="Use the kind, columns, values and choices of this upload, such as the one whose"
            " rejected rows you have corrected.",
        )
        parser.add_argument("--progress", action=BooleanOptionalAction, default=None)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        # On stderr, so that stdout can go to a file.
        self.bar = ProgressBar(self.stderr, shown=options["progress"])
        by = _user_by_email(options["by"])
        if options["apply"] and by is None:
            message = "--apply needs --by EMAIL: it is done with the rights of that person."
            raise CommandError(message, returncode=NOT_DONE)
        upload = self._receive(file, by, options)
        try:
            with self._cancelled_if_interrupted(upload, by):
                self._work(upload)
                self._stop_unless_ready(upload)
                rejected = self._write_preview(upload, by)
                if options["apply"] and by:
                    rejected = self._apply(upload, by, all_or_nothing=options["all_or_nothing"])
                if rejected and options["rejected"]:
                    self._write_rejected_rows(upload, options["rejected"])
        finally:
            # Nobody else is to decide on it: its file must not wait for a day.
            upload.refresh_from_db()
            if upload.state in (Upload.State.UNMAPPED, Upload.State.READY):
                actions.cancel_upload(upload=upload, by=by)
        if rejected:
            sys.exit(SOME_REJECTED)

    def _receive(self, path: Path, by: User | None, options: dict[str, Any]) -> Upload:
        number = options["like"]
        like = None if number is None else _upload_of_number(number, options)
        kind = ListKind(options["kind"] or ListKind.CREDENTIALS)
        delimiter = options["delimiter"] and DELIMITERS_BY_TITLE[options["delimiter"]]
        choices = _choices_from_options(options)
        fixed_values = _fixed_values_from_options(kind, options["fixed_value"])
        try:
            chosen_mapping = _mapping_from_options(path, kind, options, delimiter)
            with path.open("rb") as file:
                return actions.receive_upload(
                    kind=kind,
                    file=file,
                    name=path.name,
                    by=by,
                    encoding=options["encoding"],
                    delimiter=delimiter,
                    header_row=options["header_row"],
                    mapping=chosen_mapping,
                    fixed_values=fixed_values,
                    choices=choices,
                    like=like,
                )
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", returncode=NOT_DONE) from error
        except UnreadableFile as error:
            raise CommandError(str(error), returncode=NOT_DONE) from error
        except actions.FileTooLarge as error:
            raise CommandError("The file is too large.", returncode=NOT_DONE) from error
        except actions.NoRoom as error:
            raise CommandError(str(error), returncode=NOT_DONE) from error

    @contextmanager
    def _cancelled_if_interrupted(self, upload: Upload, by: User | None) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.bar.clear()
            try:
                actions.cancel_upload(upload=upload, by=by)
            except actions.WrongUploadState:  # it has ended by itself
                sys.exit(INTERRUPTED)
            self.stderr.write("Stopping …")
            # Cancelling only marks the upload. Whoever works on it ends it.
            self._work(upload)
            self.stderr.write(f"Interrupted: {_outcome_text(upload) or 'nothing was written'}.")
            sys.exit(INTERRUPTED)

    def _work(self, upload: Upload) -> None:
        """Process the upload in this process, or wait for the worker that has begun with it."""
        while True:
            process_waiting_uploads(only=upload, on_progress=self.bar.show)
            upload.refresh_from_db()
            self.bar.show(upload)
            if not upload.is_under_way:
                break
            time.sleep(POLL_PAUSE_SECONDS)
        self.bar.clear()

    def _stop_unless_ready(self, upload: Upload) -> None:
        if upload.state == Upload.State.UNMAPPED:
            if asked := [upload.header[at] for at in upload.findings.get("asked", ())]:
                raise CommandError(
                    f"More than one column could be the key: {', '.join(asked)}. Name it with"
                    f" --column {asked[0]}=key.",
                    returncode=NOT_DONE,
                )
            mapped = {int(position): name for position, name in upload.mapping.items()}
            missing = ", ".join(
                mapping.missing_columns(ListKind(upload.kind), mapped, upload.fixed_values)
            )
            headers = ", ".join(upload.header)
            raise CommandError(
                f"No column was recognised for: {missing}. Name it with --column HEADER=COLUMN, or"
                " give a value for every row with --fixed-value COLUMN=VALUE."
                f" The file has: {headers}.",
                returncode=NOT_DONE,
            )
        if upload.state != Upload.State.READY:
            raise CommandError(upload.error or upload.get_state_display(), returncode=NOT_DONE)

    def _write_members(self, members: dict[str, Any]) -> None:
        """Print how many people would become members, and name those of other customers."""
        if members["count"]:
            self.stdout.write(f"{members['count']:,} people would become members of a customer.")
        for person in members["people"]:
            if person["is_of_another"]:
                belongs_to = ", ".join(person["belongs_to"]) or "no customer yet"
                verb = "is rejected as" if person["is_rejected"] else "would become"
                self.stdout.write(
                    f"{person['email']} (domain {person['domain']}, belongs to {belongs_to}) "
                    f"{verb} {person['role']} of {person['customer']}."
                )
        shown = sum(person["is_of_another"] for person in members["people"])
        if members["of_others"] > shown:
            self.stdout.write(f"… {members['of_others']:,} people of other customers in all.")

    def _write_moves(self, moves: dict[str, Any] | None) -> None:
        """Print how many calls would move, from where to where, as the page of the upload does."""
        if not moves or not moves["counted"]:
            self.stdout.write("How many counted calls this moves is not known.")
            return
        more = "" if moves["is_complete"] else "more than "
        found = trial.consequences_of_moves(moves)
        first = found.changes_bills_since
        since = f" since {first:%Y-%m-%d %H:%M}" if first else ""
        self.stdout.write(f"This moves {more}{moves['calls']:,} calls{since}.")
        for movement in found.movements[:PROBLEMS_SHOWN]:
            self.stdout.write(f"{movement.calls:,} from {movement.before} to {movement.after}")
        for name in moves["names"]:
            self.stdout.write(
                f"“{name['name']}”, a former name of “{name['loser']}” of {name['loser_customer']},"
                f" becomes a name of “{name['taker']}”: {name['calls']:,} calls used it in the last"
                f" {RECENT_CALLS_DAYS} days."
            )

    def _write_calls(self, calls: dict[str, Any]) -> None:
        """Print the calls that a list of usage brings, by customer and month."""
        self.stdout.write(
            f"{calls['rows']:,} rows would be counted, {calls['waiting']:,} of them would wait in"
            " quarantine."
        )
        for each in calls["months"]:
            owner = f"quarantine ({each['reason']})" if each["reason"] else each["customer"]
            self.stdout.write(f"{each['month']}, {owner}: {each['calls']:,} calls")
        if calls["more"]:
            self.stdout.write(f"… and {calls['more']:,} more.")

    def _write_preview(self, upload: Upload, by: User | None) -> int:
        """Print the preview. Return the number of rejected rows."""
        preview = upload.preview
        counts = ", ".join(
            f"{preview['counts'][action]:,} {action}" for action in Upload.Action.values
        )
        self.stdout.write(f"{upload.file_format}. {upload.total:,} rows: {counts}.")
        for name, count in preview["also_creates"].items():
            if count:
                self.stdout.write(f"In addition, {count:,} {name} would be created.")
        for warning in preview["warnings"]:
            self.stdout.write(
                " ".join([warning["message"], "; ".join(warning["examples"])]).strip()
            )
        self._write_members(preview["members"])
        # Without --by, nobody's rights can be compared.
        if by:
            for missing in rights.missing_rights_to_apply(upload, by):
                self.stderr.write(f"{by} may not {missing}.")
        if preview.get("calls"):
            self._write_calls(preview["calls"])
        else:
            self._write_moves(preview.get("moves"))
        for problem in actions.list_row_problems(upload=upload, most=PROBLEMS_SHOWN):
            value = f" {problem.hint}" if problem.hint else ""
            column = f", {problem.column}{value}" if problem.column else ""
            self.stderr.write(f"Row {problem.row:,}{column}: {problem.message}")
        rejected = int(preview["counts"]["rejected"])
        if rejected > PROBLEMS_SHOWN:
            self.stderr.write(
                f"… {rejected:,} rows are rejected; --rejected FILE writes all of them."
            )
        return rejected

    def _apply(self, upload: Upload, by: User, *, all_or_nothing: bool) -> int:
        """Apply the upload. Return the number of rows that are rejected by then."""
        rejected = int(upload.preview["counts"]["rejected"])
        try:
            actions.apply_upload(upload=upload, by=by, all_or_nothing=all_or_nothing)
        except actions.SomeRowsRejected as error:
            message = "Nothing was applied, because some rows are rejected."
            raise CommandError(message, returncode=NOT_DONE) from error
        except actions.NotAllowed as error:
            message = f"Nothing was applied. {by} lacks rights. {error}"
            raise CommandError(message, returncode=NOT_DONE) from error
        except actions.NothingToApply:
            self.stdout.write("Nothing to apply.")
            return rejected
        self._work(upload)
        if upload.state != Upload.State.APPLIED:
            reason = upload.error or upload.get_state_display()
            raise CommandError(f"{reason} {_outcome_text(upload)}".strip(), returncode=NOT_DONE)
        assert upload.took
        done = _outcome_text(upload) or "nothing had to be changed"
        self.stdout.write(f"Applied: {done}, in {duration(upload.took)}.")
        return rejected + int(upload.outcome.get("meanwhile", 0))

    def _write_rejected_rows(self, upload: Upload, path: Path) -> None:
        try:
            with path.open("wb") as file:
                actions.write_rejected_rows(upload=upload, to=file)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", returncode=NOT_DONE) from error
        self.stdout.write(f"The rejected rows are in {path}.")


class ProgressBar:
    """A progress bar in one line that is written over; it shows nothing outside a terminal."""

    def __init__(self, to: Any, *, shown: bool | None) -> None:
        self._to = to
        self._shown = to.isatty() if shown is None else shown
        self._width = 0

    def show(self, upload: Upload) -> None:
        if not self._shown or not upload.is_under_way:
            return
        progress = progress_of(upload, timezone.now())
        parts = [progress.step or "Waiting for its turn"]
        if progress.fraction is not None:
            full = round(progress.fraction * BAR_WIDTH_CHARACTERS)
            parts += [
                f"{'█' * full}{'░' * (BAR_WIDTH_CHARACTERS - full)} {progress.fraction:4.0%}",
                f"{progress.done:,} rows",
                f"{progress.rate:,.0f} a second",
            ]
        if progress.left is not None:
            parts.append(f"{duration(progress.left)} left")
        self._write("  ".join(parts))

    def clear(self) -> None:
        if self._width:
            self._write("")
            self._width = 0

    def _write(self, line: str) -> None:
        # Spaces cover what is left of a longer line before.
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


def _upload_of_number(number: int, options: dict[str, Any]) -> Upload:
    """Return the upload whose settings are used. Raises CommandError if there are others, too."""
    if given := [name for name in SETTING_OPTIONS if options[name] not in (None, False, [])]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise CommandError(
            f"--like brings its own settings. Leave out {names}.", returncode=NOT_DONE
        )
    upload = Upload.objects.filter(pk=number).first()
    if upload is None:
        raise CommandError(f"There is no upload {number}.", returncode=NOT_DONE)
    return upload


def _choices_from_options(options: dict[str, Any]) -> UploadChoices:
    product = options["create_subscriptions"]
    if product and not Product.objects.filter(external_key=product).exists():
        raise CommandError(f"There is no product {product}.", returncode=NOT_DONE)
    try:
        return UploadChoices(
            customers="create" if options["create_customers"] else "reject",
            subscribers="create" if options["create_subscribers"] else "reject",
            subscriptions="reject" if product is None else "create",
            product=product or "",
            plans="create" if options["create_plans"] else "reject",
            plan_keys=options["plan_keys"] or UploadChoices.plan_keys,
            plan_separator=options["plan_separator"] or UploadChoices.plan_separator,
            keys_of_others="take_over" if options["take_over"] else "reject",
            people_of_others="join" if options["join_people_of_others"] else "reject",
            revoked_keys="use_again" if options["use_revoked_keys_again"] else "reject",
            missing_keys="generate" if options["generate_keys"] else "reject",
            inactive="keep" if options["keep_inactive"] else "reject",
            states=options["states"] or UploadChoices.states,
            duplicates=options["duplicates"] or UploadChoices.duplicates,
            day_order=options["day_order"] or UploadChoices.day_order,
            time_zone=options["time_zone"] or UploadChoices.time_zone,
        )
    except actions.InvalidChoice as error:
        option = error.name.replace("_", "-")
        raise CommandError(f"--{option}: {error.message}", returncode=NOT_DONE) from error


def _fixed_values_from_options(kind: ListKind, assignments: list[str]) -> dict[str, str]:
    cells = dict(_split_assignment(assignment) for assignment in assignments)
    try:
        return mapping.parse_fixed_values(kind, cells)
    except InvalidCell as error:
        raise CommandError(f"--fixed-value {error}", returncode=NOT_DONE) from error


def _split_assignment(assignment: str) -> tuple[str, str]:
    name, _, value = assignment.partition("=")
    return name, value


def _mapping_from_options(
    path: Path, kind: ListKind, options: dict[str, Any], delimiter: str | None
) -> dict[int, str] | None:
    """Return the guessed mapping with the changes of --column; None without any.

    Raises CommandError, UnreadableFile, OSError.
    """
    if not options["column"]:
        return None
    # The same guess as that of the check, which makes none if it is given a mapping.
    with open_list(
        path,
        name=path.name,
        encoding=options["encoding"],
        delimiter=delimiter,
        header_row=options["header_row"],
    ) as read:
        sample = [
            cells
            for _, (_, cells) in zip(range(MAPPING_SAMPLE_ROWS), read.rows, strict=False)
            if not isinstance(cells, RowError)
        ]
        mapped = mapping.guess_mapping(kind, read.header, sample)
        header = read.header
    for option in options["column"]:
        # A header may contain "=", a column of revcred does not.
        name, _, column = option.rpartition("=")
        if name not in header:
            raise CommandError(f"The file has no column “{name}”.", returncode=NOT_DONE)
        if column and column not in columns_by_name(kind):
            known = ", ".join(columns_by_name(kind))
            raise CommandError(f"“{column}” is not one of {known}.", returncode=NOT_DONE)
        mapped.pop(header.index(name), None)
        mapped = {position: other for position, other in mapped.items() if other != column}
        if column:
            mapped[header.index(name)] = column
    return mapped


def _outcome_text(upload: Upload) -> str:
    words = {"create": "created", "update": "updated", "move": "moved"}
    return ", ".join(
        f"{count:,} {words[action]}"
        for action, count in upload.outcome.items()
        if action in words and count
    )
