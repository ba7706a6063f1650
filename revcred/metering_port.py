"""The port between the core and metering: what the core tells it, and what it asks.

Metering connects its side when it starts (`metering/port.py`); the core knows nothing of it. What
is asked of many rows is asked of a table by its name: no SQL passes the port.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from django.db import connection
from django.utils.translation import gettext

from revcred.models import (
    Credential,
    Customer,
    ExternalKey,
    Product,
    Subscription,
    Upload,
    User,
)
from revcred.personal_texts import PersonTexts

RECENT_CALLS_DAYS = 7
TABLE_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")


# --- What the core tells --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AssignmentChange:
    """A change between usage and its owner, announced in the transaction that makes it.

    `cause`: a sentence for people. `since`: attributed usage from this moment on is judged again;
    with None, only the quarantine is. `with_sources`: the change concerns every product that is
    limited to sources. If neither a thing nor `with_sources` is given, it concerns all usage.
    """

    cause: str
    by: User | None
    since: datetime | None = None
    credential: Credential | None = None
    subscription: Subscription | None = None
    product: Product | None = None
    upload: Upload | None = None
    with_sources: bool = False


class Correction(Protocol):
    """The correction of attributed usage that follows from a change."""

    def record_expected_calls(self, calls: int) -> None:
        """Record how many calls somebody was told that it will move."""

    def get_absolute_url(self) -> str:
        """Return the address of the page that shows how far it has come."""


# --- What the core asks ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ChargedTo:
    """The subscription that calls are charged to, or the reason why they have no owner."""

    customer: str = ""
    subscription: str = ""
    subscription_id: int | None = None
    credential: str = ""  # given only if nothing but the credential changes
    reason: str = ""

    def __str__(self) -> str:
        if self.subscription_id is None:
            return f"quarantine ({self.reason})"
        through = (
            gettext(", through “%(credential)s”") % {"credential": self.credential}
            if self.credential
            else ""
        )
        return gettext("“%(subscription)s” of %(customer)s%(through)s") % {
            "subscription": self.subscription,
            "customer": self.customer,
            "through": through,
        }


@dataclass(frozen=True, kw_only=True)
class CallMovement:
    """Calls that an action moves from one owner to another, or out of or into quarantine."""

    before: ChargedTo
    after: ChargedTo
    calls: int
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True)
class Consequences:
    """The calls that an action moves, the largest movement first.

    `since`: the earliest moment the action reaches back to; None if it reaches no counted call.
    `is_complete`: False if there are more calls than could be counted in time.
    `changes_assignments`: True if the action changes whose calls are, also if no counted call
    moves. `others_under_way`: earlier corrections that are not finished, whose calls may be among
    these.
    """

    movements: tuple[CallMovement, ...] = ()
    since: datetime | None = None
    is_complete: bool = True
    changes_assignments: bool = False
    others_under_way: int = 0

    @property
    def calls(self) -> int:
        return sum(movement.calls for movement in self.movements)

    @property
    def changes_bills_since(self) -> datetime | None:
        """The moment from which bills and charts change; None if no call moves, or none is known.

        Calls that waited in quarantine may be older than `since`.
        """
        moments = [movement.first for movement in self.movements]
        if self.since and not self.is_complete:
            moments.append(self.since)
        return min(moments, default=None)

    @property
    def moves_calls(self) -> bool:
        return bool(self.movements) or not self.is_complete


@dataclass(frozen=True)
class RecentCalls:
    """The number of calls in the last RECENT_CALLS_DAYS, in total and day by day.

    `last_hour`: the last hour that had any. `last_day`: calls of the last 24 hours, counted by
    whole hours, from `last_day_since` on. `by_day`: each of these days in UTC with its calls,
    oldest first. `is_complete`: False if not all calls could be counted in time.
    """

    calls: int = 0
    last_hour: datetime | None = None
    last_day: int = 0
    last_day_since: datetime | None = None
    by_day: tuple[tuple[date, int], ...] = ()
    is_complete: bool = True


@dataclass(frozen=True, kw_only=True)
class RecentCallsQuestion:
    """A question about the calls of the last RECENT_CALLS_DAYS, of whatever is named here.

    `key`: count only calls that came with this key. `named`: count only calls that name the
    subscription by this external key.
    """

    credential: Credential | None = None
    subscription: Subscription | None = None
    customer: Customer | None = None
    product: Product | None = None
    key: ExternalKey | None = None
    named: str | None = None


@dataclass(frozen=True)
class WaitingCalls:
    """Transactions in quarantine that wait for something.

    `since`: the oldest. `customers`: name and number of transactions, of those with the most.
    """

    transactions: int = 0
    since: datetime | None = None
    customers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class TableOfRows:
    """A table of this database connection that holds the rows a question is about.

    Raises:
        ValueError: the name is not a plain identifier.
    """

    name: str

    def __post_init__(self) -> None:
        if not TABLE_NAME_PATTERN.fullmatch(self.name):
            message = f"{self.name!r} is not the name of a table."
            raise ValueError(message)


class MeteringPort(Protocol):
    """Metering, as the core sees it."""

    def change_assignments(self, change: AssignmentChange) -> Correction:
        """Take note of a change, so that what it concerns is judged again."""

    def count_consequences(
        self, corrections: Sequence[Correction], *, seconds: float | None
    ) -> Consequences:
        """Count the calls that these corrections will move, in `seconds` if they are given.

        Called inside the transaction of the change.
        """

    def count_recent_calls(self, question: RecentCallsQuestion) -> RecentCalls:
        """Count the calls of the last RECENT_CALLS_DAYS."""

    def has_calls(self) -> bool:
        """Return whether there is any call that a change could move."""

    def count_waiting(self, rows: TableOfRows) -> WaitingCalls:
        """Count the transactions in quarantine that these rows would attribute.

        Columns: `customer`, `fingerprint`, `subscription` (its external key).
        """

    def find_rows_with_usage(self, rows: TableOfRows, *, most: int) -> list[int]:
        """Return the column `number` of the rows that have usage, of at most `most` of them.

        Columns: `number`, `since`, `credential_id`, `subscription_ids`. NULL restricts nothing, but
        a row names a credential or subscriptions.
        """

    def find_rows_with_tokens(self, rows: TableOfRows) -> list[int]:
        """Return the column `number` of the rows whose gateways have tokens, also revoked ones.

        Columns: `number`, `gateway_id`. Only a gateway with a token has ever reported anything.
        """

    def steps_of_erasing(self, texts: PersonTexts) -> Iterator[Callable[[], int]]:
        """Yield steps that replace what stored calls say of a person.

        Each is called in a transaction of its own, and returns the number of calls it changed. One
        that is called again changes nothing.
        """


# --- The connection -------------------------------------------------------------------------------

_connected: MeteringPort | None = None


def connect_metering(port: MeteringPort | None) -> None:
    """Connect metering's side of the port; None stands for an installation without metering."""
    global _connected  # noqa: PLW0603 - set when the process starts
    _connected = port


def connected_metering() -> MeteringPort | None:
    """Return metering's side of the port, None if nothing is metered, as in tests of the core."""
    return _connected


@contextmanager
def table_of_rows(name: str, query: str) -> Iterator[TableOfRows]:
    """Put the result of a query of the core's own into a temporary table, for a question."""
    table = TableOfRows(name)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {table.name}")
        cursor.execute(f"CREATE TEMPORARY TABLE {table.name} AS {query}")
        # Without statistics the planner takes a table that was just filled for an empty one.
        cursor.execute(f"ANALYZE {table.name}")
    yield table
    # Not after an error: the transaction is broken then, and takes the table with it.
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {table.name}")
