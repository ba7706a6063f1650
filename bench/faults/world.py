"""The customers of a run, and an oracle: whose a call is, by what was done and when.

It knows what the acts were told, and nothing of how the application judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

CUSTOMERS = 10
SUBSCRIPTIONS = 3  # of a customer
CREDENTIALS = 12  # of a customer
WEB, SECOND_WEB = "web", "web-2"  # where gateways may post
GATEWAYS = ("steady", "batches", "bulk", "skewed")
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)

# Why it is nobody's, in the words of the quarantine.
UNKNOWN, NOT_VALID, NO_SUBSCRIPTION = "unknown_key", "key_not_valid", "no_subscription"


def key(number: int) -> str:
    return f"fault-key-{number:05}"


def is_late(number: int) -> bool:
    """Its calls come first, its credential later."""
    return number % 5 == 1


def is_foreign(number: int) -> bool:
    """Nobody ever has a credential for it."""
    return number % 10 == 2  # noqa: PLR2004 - any tenth would do


# Lists that are uploaded.
ROWS_OF_LIST = 700  # that make a credential each: more than a worker applies in one transaction
PEOPLE_OF_LIST = 5  # that a list makes holders and members, and who are told
STANDING_CREDENTIAL = "standing"  # a credential that is there, and that every list changes

KEYS = [key(number) for number in range(CUSTOMERS * CREDENTIALS)]


@dataclass
class Period:
    since: datetime
    until: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        return self.since <= moment and (self.until is None or moment < self.until)


@dataclass
class Link(Period):
    """An assignment, with the subscription's number in the database."""

    subscription: int = 0


@dataclass
class Known:
    """A credential and its one key."""

    since: datetime
    links: list[Link]
    suspensions: list[Period] = field(default_factory=list)
    revoked_at: datetime | None = None
    issued_at: float = 0.0  # seconds since the epoch; its periods may reach back further
    # When it was being changed: from when until when, in seconds since the epoch.
    changes: list[tuple[float, float]] = field(default_factory=list)

    @property
    def current(self) -> Link:
        return self.links[-1]

    @property
    def suspended(self) -> bool:
        return bool(self.suspensions) and self.suspensions[-1].until is None

    def counts_at(self, moment: datetime) -> bool:
        revoked = self.revoked_at is not None and self.revoked_at <= moment
        return not revoked and not any(each.holds(moment) for each in self.suspensions)

    def move(self, to: int, at: datetime) -> None:
        self.current.until = at
        self.links.append(Link(at, subscription=to))


@dataclass(frozen=True)
class UploadedList:
    """A list that was uploaded and applied, and perhaps undone."""

    number: int
    is_undone: bool
    problem: str = ""  # why this could not be done to its end

    @property
    def name(self) -> str:
        return f"list-{self.number:04}"

    def credentials(self) -> list[str]:
        return [f"{self.name}-{row:04}" for row in range(ROWS_OF_LIST)]

    def people(self) -> list[str]:
        """Their addresses."""
        return [f"{self.name}-{number}@lists.example" for number in range(PEOPLE_OF_LIST)]


World = dict[str, Known]


def verdict(known: Known | None, at: datetime) -> int | str:
    """The subscription a call at that moment belongs to, or why it is nobody's."""
    if known is None:
        return UNKNOWN
    if at < known.since or not known.counts_at(at):
        return NOT_VALID
    fed = [link.subscription for link in known.links if link.holds(at)]
    return fed[0] if fed else NO_SUBSCRIPTION


def others(subscriptions: Sequence[int], than: int) -> list[int]:
    return [each for each in subscriptions if each != than]
