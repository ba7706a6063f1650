"""The one place where the core says that a link between usage and its owner has changed.

Metering listens (see `metering/apps.py`); the core knows nothing of who does. It answers here,
too, what waits for somebody or has been attributed already, and what an action would move.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from django.db import OperationalError, connection
from django.db.transaction import atomic, set_rollback
from django.dispatch import Signal

from revcred.models import Credential, Product, Subscription, Upload, User
from revcred.models.audit import events_deferred_to_end

assignment_changed = Signal()
waiting_requested = Signal()
usage_requested = Signal()
consequences_requested = Signal()
recent_calls_requested = Signal()

TRIAL_LOCK_TIMEOUT_SECONDS = 3  # for an action that is tried out
RECENT_CALLS_DAYS = 7
LOCK_NOT_AVAILABLE_SQLSTATE = "55P03"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ChargedTo:
    """The subscription that calls are charged to, or the reason why they are nobody's."""

    customer: str = ""
    subscription: str = ""
    subscription_id: int | None = None
    credential: str = ""  # named only where a call changes nothing else
    reason: str = ""

    def __str__(self) -> str:
        if self.subscription_id is None:
            return f"quarantine ({self.reason})"
        through = f", through “{self.credential}”" if self.credential else ""
        return f"“{self.subscription}” of {self.customer}{through}"


@dataclass(frozen=True, kw_only=True)
class CallMovement:
    """Calls that an action takes from where they are counted to somewhere else."""

    before: ChargedTo
    after: ChargedTo
    calls: int
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True)
class Consequences:
    """The calls that an action moves, the largest movement first.

    `since`: the earliest moment the action reaches back to, None where it reaches no counted call.
    `is_complete`: False if there are more calls than could be counted in time.
    `changes_assignments`: whether the action changes a link at all, also if no counted call moves.
    `others_under_way`: earlier corrections not finished yet, whose calls may be among these.
    """

    movements: tuple[CallMovement, ...] = ()
    since: datetime | None = None
    is_complete: bool = True
    changes_assignments: bool = False
    others_under_way: int = 0

    @property
    def calls(self) -> int:
        return sum(each.calls for each in self.movements)

    @property
    def moves_calls(self) -> bool:
        return bool(self.movements) or not self.is_complete


@dataclass(frozen=True)
class TrialResult(Generic[T]):
    """What an action returned, what it moves, and whether it has been kept.

    `progress_urls`: addresses of the pages that show how far the corrections have come.
    """

    result: T
    consequences: Consequences
    is_kept: bool
    progress_urls: tuple[str, ...] = ()


class ConcurrentChange(Exception):
    """Somebody else is changing the same thing at this moment."""


# What listeners made of the announcements of an action that is tried out.
_listener_answers: ContextVar[list[Any] | None] = ContextVar("noted announcements", default=None)


def announce_change(
    cause: str,
    *,
    by: User | None,
    since: datetime | None = None,
    credential: Credential | None = None,
    subscription: Subscription | None = None,
    product: Product | None = None,
    upload: Upload | None = None,
    with_sources: bool = False,
) -> None:
    """Say it inside the transaction that changes the link, so that both happen or neither.

    `since` is the moment from which what has been attributed already may be wrong now.
    `with_sources`: it concerns all products that have sources, and none in particular.
    """
    answers = assignment_changed.send(
        sender=None,
        cause=cause,
        by=by,
        since=since,
        credential=credential,
        subscription=subscription,
        product=product,
        upload=upload,
        with_sources=with_sources,
    )
    if (noted := _listener_answers.get()) is not None:
        noted += [answer for _, answer in answers if answer is not None]


def consequences_of(action: Callable[[], Any]) -> Consequences:
    """What the action would move. It is done and taken back.

    Raises ConcurrentChange, and what it raises.
    """
    return try_out(action, keep=lambda _, __: False).consequences


def try_out(action: Callable[[], T], *, keep: Callable[[T, Consequences], bool]) -> TrialResult[T]:
    """Do it, count what it moves, and take it back unless it is to be kept.

    Counted is what the action has announced, in its own transaction, by the statements that carry
    it out later: what is shown is what happens. Raises ConcurrentChange, and what the action
    raises.
    """
    noted: list[Any] = []
    token = _listener_answers.set(noted)
    try:
        with atomic(), _short_lock_timeout(), events_deferred_to_end():
            result = action()
            consequences = _count_consequences(noted)
            is_kept = keep(result, consequences)
            if is_kept:
                _expect_calls(noted, consequences)
            else:
                set_rollback(True)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE_SQLSTATE:
            raise ConcurrentChange from error
        raise
    finally:
        _listener_answers.reset(token)
    progress_urls = tuple(filter(None, map(_progress_url, noted))) if is_kept else ()
    return TrialResult(result, consequences, is_kept, progress_urls)


def _count_consequences(noted: list[Any]) -> Consequences:
    """`noted` is what listeners made of the announcements: they count it themselves."""
    answers = consequences_requested.send(sender=None, noted=noted) if noted else []
    if not answers:
        return Consequences()
    return replace(cast("Consequences", answers[0][1]), changes_assignments=True)


def _expect_calls(answers: list[Any], consequences: Consequences) -> None:
    """Note with what will be worked through how much it is, if that is known and one thing."""
    is_known = len(answers) == 1 and consequences.is_complete
    if is_known and hasattr(answers[0], "record_expected_calls"):
        answers[0].record_expected_calls(consequences.calls)


def _progress_url(answer: Any) -> str | None:
    return cast("str", answer.get_absolute_url()) if hasattr(answer, "get_absolute_url") else None


@contextmanager
def _short_lock_timeout() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true)", [f"{TRIAL_LOCK_TIMEOUT_SECONDS}s"]
        )
    yield
    if not connection.needs_rollback:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])


@dataclass(frozen=True)
class RecentCalls:
    """How many calls there were in the last RECENT_CALLS_DAYS, and the last hour with any."""

    calls: int = 0
    last_hour: datetime | None = None


def recent_calls_of(
    *,
    credential: Credential | None = None,
    subscription: Subscription | None = None,
    named: str | None = None,
) -> RecentCalls:
    """Of the calls charged through the credential, or to the subscription.

    `named`: only of those that name the subscription so.
    """
    answers = recent_calls_requested.send(
        sender=None,
        credential=credential,
        subscription=subscription,
        named=named,
        days=RECENT_CALLS_DAYS,
    )
    return cast("RecentCalls", answers[0][1]) if answers else RecentCalls()


def waiting_transactions_of(rows: str) -> dict[str, Any]:
    """How many transactions wait, since when, and those of which customers: the first of them.

    `rows` is a query for `customer`, `fingerprint` and `subscription` (its external key), as
    transactions would name them.
    """
    answers = waiting_requested.send(sender=None, rows=rows)
    nothing: dict[str, Any] = {"transactions": 0, "since": None, "customers": []}
    return cast("dict[str, Any]", answers[0][1]) if answers else nothing


def numbers_with_usage(rows: str, *, most: int) -> list[int]:
    """The `number` of those that usage has been attributed to, so many at most.

    `rows` is a query for `number`, and `credential_id` or `subscription_ids` or both, `since`.
    """
    answers = usage_requested.send(sender=None, rows=rows, most=most)
    return cast("list[int]", answers[0][1]) if answers else []
