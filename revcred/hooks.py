"""Hooks by which the core tells metering of changes, and asks it about usage.

Metering listens (see `metering/apps.py`); the core knows nothing of who does. Actions announce here
that an assignment between usage and its owner changed. The core asks here what waits for somebody,
what has been attributed already, and what an action would move.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Generic, TypeVar, cast

from django.db import OperationalError, connection
from django.db.transaction import atomic, set_rollback
from django.dispatch import Signal

from revcred.models import (
    Credential,
    Customer,
    ExternalKey,
    Product,
    Subscription,
    Upload,
    User,
)
from revcred.models.audit import events_deferred_to_end

# Sent by `announce_change`. A listener may return an object that stands for the correction.
assignment_changed = Signal()
# Questions to metering, each sent by one function below. The first listener's answer counts.
waiting_requested = Signal()
usage_requested = Signal()
consequences_requested = Signal()
recent_calls_requested = Signal()

TRIAL_LOCK_TIMEOUT_SECONDS = 3
RECENT_CALLS_DAYS = 7
LOCK_NOT_AVAILABLE_SQLSTATE = "55P03"

T = TypeVar("T")


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
        through = f", through “{self.credential}”" if self.credential else ""
        return f"“{self.subscription}” of {self.customer}{through}"


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
    def moves_calls(self) -> bool:
        return bool(self.movements) or not self.is_complete


@dataclass(frozen=True)
class TrialResult(Generic[T]):
    """The result of an action that was tried out, the calls it moves, and whether it was kept.

    `progress_urls`: pages that show how far the corrections have come.
    """

    result: T
    consequences: Consequences
    is_kept: bool
    progress_urls: tuple[str, ...] = ()


class ConcurrentChange(Exception):
    """Somebody else is changing the same thing at this moment."""


# Answers of metering to the announcements of the action that is being tried out. A context
# variable, because actions announce deep inside, and requests run in threads.
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
    """Announce a change of assignments, inside the transaction that makes it.

    `cause`: a sentence for people. `since`: the moment from which attributed usage may be wrong
    now; None concerns waiting usage only. `with_sources`: all products that have sources, and none
    in particular.
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
    # SeenTransaction only while an action is tried out.
    if (noted := _listener_answers.get()) is not None:
        noted += [answer for _, answer in answers if answer is not None]


def try_out(
    action: Callable[[], T],
    *,
    keep: Callable[[T, Consequences], bool],
    seconds: float | None = None,
) -> TrialResult[T]:
    """Perform the action, count the calls it moves, and take it back unless `keep` says so.

    Metering counts inside the action's transaction, with the statements that carry the change out
    later: what is shown is what happens. `seconds`: longest time for counting, if it may be longer
    than for a page that somebody waits for. Raises ConcurrentChange, and what the action raises.
    """
    noted: list[Any] = []
    token = _listener_answers.set(noted)
    try:
        with atomic(), _short_lock_timeout(), events_deferred_to_end():
            result = action()
            consequences = _count_consequences(noted, seconds)
            is_kept = keep(result, consequences)
            # Inside the transaction: the correction is told before it may be taken up.
            if is_kept:
                _expect_calls(noted, consequences)
            else:
                set_rollback(True)
    # Only the lock timeout is turned into a sentence; other errors are real ones.
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE_SQLSTATE:
            raise ConcurrentChange from error
        raise
    finally:
        _listener_answers.reset(token)
    progress_urls = tuple(filter(None, map(_progress_url, noted))) if is_kept else ()
    return TrialResult(result, consequences, is_kept, progress_urls)


def _count_consequences(noted: list[Any], seconds: float | None) -> Consequences:
    """Ask metering to count what its own answers to the announcements would move."""
    answers = (
        consequences_requested.send(sender=None, noted=noted, seconds=seconds) if noted else []
    )
    if not answers:
        return Consequences()
    return replace(cast("Consequences", answers[0][1]), changes_assignments=True)


def _expect_calls(answers: list[Any], consequences: Consequences) -> None:
    """Tell the correction how many calls to expect, if that is known and it is the only one."""
    # With several corrections it is unknown which calls belong to which.
    is_known = len(answers) == 1 and consequences.is_complete
    if is_known and hasattr(answers[0], "record_expected_calls"):
        answers[0].record_expected_calls(consequences.calls)


def _progress_url(answer: Any) -> str | None:
    return cast("str", answer.get_absolute_url()) if hasattr(answer, "get_absolute_url") else None


@contextmanager
def _short_lock_timeout() -> Iterator[None]:
    """Wait only shortly for locks inside the block: a person waits for the page."""
    with connection.cursor() as cursor:
        # Set back afterwards: the setting lasts until the end of an outer transaction.
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


def recent_calls_of(
    *,
    credential: Credential | None = None,
    subscription: Subscription | None = None,
    customer: Customer | None = None,
    product: Product | None = None,
    key: ExternalKey | None = None,
    named: str | None = None,
) -> RecentCalls:
    """Return the recent calls charged through the credential, to the subscription, and so on.

    `key`: count only calls that came with this key. `named`: count only calls that name the
    subscription by this external key.
    """
    # No listener, as in tests of the core alone, means no calls.
    answers = recent_calls_requested.send(
        sender=None,
        credential=credential,
        subscription=subscription,
        customer=customer,
        product=product,
        key=key,
        named=named,
        days=RECENT_CALLS_DAYS,
    )
    return cast("RecentCalls", answers[0][1]) if answers else RecentCalls()


def waiting_transactions_of(rows: str) -> dict[str, Any]:
    """Return how many transactions in quarantine the rows of a query would attribute.

    `rows`: SQL for columns `customer`, `fingerprint` and `subscription` (its external key). Returns
    `transactions`, `since` (the oldest) and `customers` (the first of their names).
    """
    answers = waiting_requested.send(sender=None, rows=rows)
    nothing: dict[str, Any] = {"transactions": 0, "since": None, "customers": []}
    return cast("dict[str, Any]", answers[0][1]) if answers else nothing


def numbers_with_usage(rows: str, *, most: int) -> list[int]:
    """Return the numbers of rows that usage has been attributed to, at most `most`.

    `rows`: SQL for columns `number`, `since`, and `credential_id` or `subscription_ids` or both.
    """
    answers = usage_requested.send(sender=None, rows=rows, most=most)
    return cast("list[int]", answers[0][1]) if answers else []
