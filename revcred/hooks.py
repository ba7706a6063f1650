"""Announcements and questions of the core to metering, through `revcred.metering_port`.

Actions announce here that an assignment between usage and its owner changed. The core asks here
what waits for somebody, what has been attributed already, and what an action would move.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypedDict, TypeVar, Unpack

from django.db import OperationalError, connection
from django.db.transaction import atomic, set_rollback

from revcred.metering_port import (
    AssignmentChange,
    Consequences,
    Correction,
    RecentCalls,
    RecentCallsQuestion,
    WaitingCalls,
    connected_metering,
    table_of_rows,
)
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
from revcred.personal_texts import PersonTexts

TRIAL_LOCK_TIMEOUT_SECONDS = 3
LOCK_NOT_AVAILABLE_SQLSTATE = "55P03"

T = TypeVar("T")


@dataclass(frozen=True)
class TrialResult(Generic[T]):
    """The result of an action that was tried out, the calls it moves, and whether it was kept.

    `progress_urls`: pages that show how far the corrections have come.
    """

    result: T
    consequences: Consequences
    is_kept: bool
    progress_urls: tuple[str, ...] = ()


class ConcernedByChange(TypedDict, total=False):
    """The fields of an `AssignmentChange` beside its cause and its author."""

    since: datetime | None
    credential: Credential | None
    subscription: Subscription | None
    product: Product | None
    upload: Upload | None
    with_sources: bool


class RecentCallsFields(TypedDict, total=False):
    """The fields of a `RecentCallsQuestion`."""

    credential: Credential | None
    subscription: Subscription | None
    customer: Customer | None
    product: Product | None
    key: ExternalKey | None
    named: str | None


class ConcurrentChange(Exception):
    """Somebody else is changing the same thing at this moment."""


# Corrections that follow from the action that is being tried out. A context variable, because
# actions announce deep inside, and requests run in threads.
_noted_corrections: ContextVar[list[Correction] | None] = ContextVar("noted", default=None)


def announce_change(cause: str, *, by: User | None, **concerned: Unpack[ConcernedByChange]) -> None:
    """Announce an `AssignmentChange`, inside the transaction that makes it."""
    if metering := connected_metering():
        correction = metering.change_assignments(AssignmentChange(cause=cause, by=by, **concerned))
        # Only while an action is tried out.
        if (noted := _noted_corrections.get()) is not None:
            noted.append(correction)


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
    noted: list[Correction] = []
    token = _noted_corrections.set(noted)
    try:
        with atomic(), _short_lock_timeout(), events_deferred_to_end():
            result = action()
            consequences = _count_consequences(noted, seconds)
            is_kept = keep(result, consequences)
            # Before the commit: afterwards a worker may already process the correction.
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
        _noted_corrections.reset(token)
    progress_urls = tuple(each.get_absolute_url() for each in noted) if is_kept else ()
    return TrialResult(result, consequences, is_kept, progress_urls)


def _count_consequences(noted: Sequence[Correction], seconds: float | None) -> Consequences:
    """Ask metering to count what the corrections that were noted would move."""
    metering = connected_metering()
    if not metering or not noted:
        return Consequences()
    counted = metering.count_consequences(noted, seconds=seconds)
    return replace(counted, changes_assignments=True)


def _expect_calls(noted: Sequence[Correction], consequences: Consequences) -> None:
    """Tell the correction how many calls to expect, if that is known and it is the only one."""
    # With several corrections it is unknown which calls belong to which.
    if len(noted) == 1 and consequences.is_complete:
        noted[0].record_expected_calls(consequences.calls)


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


def recent_calls_of(**question: Unpack[RecentCallsFields]) -> RecentCalls:
    """Return the recent calls of what a `RecentCallsQuestion` names."""
    metering = connected_metering()
    return (
        metering.count_recent_calls(RecentCallsQuestion(**question)) if metering else RecentCalls()
    )


def has_calls() -> bool:
    """Return whether there is any call that a change could move."""
    metering = connected_metering()
    return bool(metering and metering.has_calls())


def count_waiting_for(query: str) -> WaitingCalls:
    """Return the transactions in quarantine that the rows of a query would attribute.

    `query`: its columns are those of `MeteringPort.count_waiting`.
    """
    metering = connected_metering()
    if not metering:
        return WaitingCalls()
    with table_of_rows("revcred_waited_for", query) as rows:
        return metering.count_waiting(rows)


def row_numbers_with_usage(query: str, *, most: int) -> list[int]:
    """Return the numbers of the rows of a query that have usage, at most `most`.

    `query`: its columns are those of `MeteringPort.find_rows_with_usage`.
    """
    metering = connected_metering()
    if not metering:
        return []
    with table_of_rows("revcred_asked_for_usage", query) as rows:
        return metering.find_rows_with_usage(rows, most=most)


def row_numbers_with_tokens(query: str) -> list[int]:
    """Return the numbers of the rows of a query whose gateways have tokens.

    `query`: its columns are those of `MeteringPort.find_rows_with_tokens`.
    """
    metering = connected_metering()
    if not metering:
        return []
    with table_of_rows("revcred_asked_for_tokens", query) as rows:
        return metering.find_rows_with_tokens(rows)


def steps_of_erasing(texts: PersonTexts) -> Iterator[Callable[[], int]]:
    """Yield steps that replace what stored calls say of a person: see `MeteringPort`."""
    if metering := connected_metering():
        yield from metering.steps_of_erasing(texts)
