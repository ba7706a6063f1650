"""What people and the clock do with uploads: the same acts for pages, API and command."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from revcred.models import Upload, User
from revcred.uploads.columns import Kind
from revcred.uploads.writing import Format


class TooLarge(Exception):
    """The file has more bytes than an upload may have."""


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


@dataclass(frozen=True)
class Dependent:
    """Why something of an upload cannot be undone: what depends on it, how often, the first."""

    reason: str
    count: int
    first: list[str]


class Depended(Exception):
    """Something later depends on what the upload did."""

    def __init__(self, dependents: list[Dependent]) -> None:
        super().__init__("; ".join(each.reason for each in dependents))
        self.dependents = dependents


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What to do about rows that name what is not there, or what is somebody else's."""

    customers: Literal["refuse", "create"] = "refuse"
    subscribers: Literal["refuse", "create"] = "refuse"
    subscriptions: Literal["refuse", "create"] = "refuse"
    product: str = ""  # of subscriptions that are created: its external key
    keys_of_others: Literal["refuse", "take_over"] = "refuse"


@dataclass(frozen=True)
class Refusal:
    """One reason why a row is refused. `hint` tells the value without giving a key away."""

    row: int
    column: str  # a name of ours, or ""
    hint: str
    message: str


def receive(
    *,
    kind: Kind,
    file: BinaryIO,
    name: str,
    by: User | None,
    encoding: str | None = None,
    delimiter: str | None = None,
    mapping: Mapping[int, str] | None = None,
    choices: Choices | None = None,
) -> Upload:
    """Keep the file and have it checked in the background. Without a mapping one is guessed.

    Raises TooLarge. `Upload.state` is CHECKING, then READY with its `preview`, UNMAPPED if
    required columns could not be told, or FAILED with its `error`.
    """
    raise NotImplementedError


def check(
    *,
    upload: Upload,
    by: User | None,
    mapping: Mapping[int, str] | None = None,
    choices: Choices | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> None:
    """Have it checked again, as said now; what is None stays. A mapping is remembered.

    Raises NotNow unless it is UNMAPPED, READY or could not be read; ColumnsMissing.
    """
    raise NotImplementedError


def apply(*, upload: Upload, by: User | None, whole: bool) -> None:
    """Have it applied in the background: `whole` is all or nothing, else the good rows.

    Raises NotNow unless it is READY, SomeRefused, NothingToApply.
    """
    raise NotImplementedError


def cancel(*, upload: Upload, by: User | None) -> None:
    """Before it is applied: at once. While it is: at the end of a row, what was done stays.

    Raises NotNow if it has ended.
    """
    raise NotImplementedError


def dependents(*, upload: Upload) -> list[Dependent]:
    """What keeps it from being undone, as far as can be told now."""
    raise NotImplementedError


def undo(*, upload: Upload, by: User | None) -> None:
    """Have all it did undone in the background. Raises NotNow, Depended."""
    raise NotImplementedError


def refusals(*, upload: Upload, after: int = 0, most: int = 100) -> list[Refusal]:
    """Of the rows after that one, in their order; a row with several reasons has several."""
    raise NotImplementedError


def write_refused(*, upload: Upload, to: BinaryIO, fmt: Format) -> None:
    """The refused rows as they came, each with the reasons in a column `error`.

    Raises NotNow once the file is gone: a day after it came at the latest.
    """
    raise NotImplementedError


def work(*, tell: Callable[[Upload], None] | None = None, only: Upload | None = None) -> None:
    """In a worker: go on with what waits, the oldest first; what another is at is passed over.

    The command works on its own (`only`) and is told after each chunk.
    """
    raise NotImplementedError


def sweep() -> None:
    """By the clock: ring for what waits, delete files that are a day old or of nobody."""
    raise NotImplementedError
