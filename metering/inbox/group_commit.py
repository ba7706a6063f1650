"""Inbox: insert deliveries so that nothing can lose them. Threads that wait share one commit."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import randbits
from time import time_ns
from typing import Any, ClassVar, Protocol
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connection

from revcred.postgresql import database_time_left
from revcred.postgresql.prepared import fetch_prepared

# The id comes with the row, so that a second try after a lost answer inserts nothing twice.
INSERT_DELIVERIES = """
INSERT INTO metering_delivery (id, gateway_id, transactions, rejected, passed_over, body)
SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::int[], %b::int[], %b::int[], %b::text[])
ON CONFLICT (id) DO NOTHING
"""

# The moments of calls with the same dedup keys that were processed before.
FIND_EARLIER = (
    "SELECT dedup_key, occurred_at FROM metering_seentransaction WHERE dedup_key = ANY(%b::uuid[])"
)
INSERT_AND_FIND_EARLIER = f"WITH kept AS ({INSERT_DELIVERIES}) {FIND_EARLIER}"

CONNECTION_ERRORS = (OperationalError, InterfaceError)
CONSECUTIVE_FREE_IDS = 1 << 16
COMMIT_WAIT_SECONDS = 30.0  # at most, for the thread that commits; a nearer deadline counts
# A row that cannot be processed is tried as a whole before it is split: so small rows stay small.
MAX_TRANSACTIONS_PER_JOINED_ROW = 100


class InboxRow(Protocol):
    """A row of a statement that takes its columns as arrays, for many rows at once."""

    @property
    def statement(self) -> str: ...

    def values(self) -> Sequence[Any]: ...

    def on_result(self, rows: Sequence[Any]) -> None:
        """Read the rows that the statement returned, those of the whole group."""


@dataclass(frozen=True)
class DeliveryRow:
    """One POST, or several joined. `body` is a JSON array of calls, each an `EncodedCall`."""

    statement: ClassVar = INSERT_DELIVERIES

    gateway_id: int
    transactions: int
    rejected: int
    body: str
    id: UUID = field(default_factory=lambda: UUID(int=time_ordered_id()))
    passed_over: int = 0  # records that are no calls

    def values(self) -> Sequence[Any]:
        return (
            *(self.id, self.gateway_id, self.transactions, self.rejected, self.passed_over),
            self.body,
        )

    def on_result(self, rows: Sequence[Any]) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class WithDuplicateLookup:
    """A row that learns when the call of its dedup key happened, if one was processed before."""

    dedup_key: UUID
    earlier_moments: list[datetime] = field(default_factory=list)

    def on_result(self, rows: Sequence[Any]) -> None:
        self.earlier_moments.extend(at for dedup_key, at in rows if dedup_key == self.dedup_key)

    @property
    def first_at(self) -> datetime | None:
        return self.earlier_moments[0] if self.earlier_moments else None


def time_ordered_id() -> int:
    """Return a version 7 UUID that is followed by CONSECUTIVE_FREE_IDS free ones."""
    high, low = divmod(randbits(74) & -CONSECUTIVE_FREE_IDS, 1 << 62)
    return time_ns() // 1_000_000 << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low


def commit_rows(rows: Sequence[InboxRow]) -> None:
    """Insert the rows, all of one class, in one commit: all of them or none.

    A connection that broke since it was last used is opened again, once.

    Raises:
        django.db.DatabaseError, django.db.InterfaceError: nothing is inserted.
    """
    statement = rows[0].statement
    columns = [list(column) for column in zip(*(row.values() for row in rows), strict=True)]
    try:
        results = fetch_prepared(statement, columns)
    except CONNECTION_ERRORS:
        # A usable connection would fail again, and without time left its caller has given up.
        if (
            connection.in_atomic_block
            or connection.is_usable()
            or not database_time_left(COMMIT_WAIT_SECONDS)
        ):
            raise
        connection.close()
        results = fetch_prepared(statement, columns)
    for row in rows:
        row.on_result(results)


def commit_each_row(rows: Sequence[InboxRow]) -> list[Exception | None]:
    """Insert the rows together, or one by one if that fails, and return the error of each.

    A row that PostgreSQL does not take spoils no other.
    """
    try:
        commit_rows(rows)
    except CONNECTION_ERRORS as error:
        return [error] * len(rows)
    except DatabaseError as error:
        if len(rows) == 1:
            return [error]
        return [outcome for row in rows for outcome in commit_each_row([row])]
    return [None] * len(rows)


def join_small_deliveries(rows: Sequence[DeliveryRow]) -> list[list[DeliveryRow]]:
    """Return the rows in groups, each to be stored as one: of one gateway, and small together."""
    groups: list[list[DeliveryRow]] = []
    filling: dict[int, list[DeliveryRow]] = {}
    room: Counter[int] = Counter()
    for row in rows:
        if row.gateway_id not in filling or row.transactions > room[row.gateway_id]:
            filling[row.gateway_id] = []
            room[row.gateway_id] = MAX_TRANSACTIONS_PER_JOINED_ROW
            groups.append(filling[row.gateway_id])
        filling[row.gateway_id].append(row)
        room[row.gateway_id] -= row.transactions
    return groups


def join_deliveries(rows: Sequence[DeliveryRow]) -> DeliveryRow:
    """Return one row with all that these rows of one gateway hold."""
    first, *others = rows
    if not others:
        return first
    calls = (row.body.removeprefix("[").removesuffix("]") for row in rows)
    return DeliveryRow(
        first.gateway_id,
        transactions=sum(row.transactions for row in rows),
        rejected=sum(row.rejected for row in rows),
        passed_over=sum(row.passed_over for row in rows),
        body=f"[{','.join(filter(None, calls))}]",
        id=first.id,
    )


def commit_joined(rows: Sequence[DeliveryRow]) -> list[UUID | Exception]:
    """Insert the rows, small ones of a gateway as one, which costs much less.

    Return for each the id of what it is stored in, or the error. A row that PostgreSQL does not
    take spoils no other.
    """
    groups = join_small_deliveries(rows)
    try:
        commit_rows([join_deliveries(group) for group in groups])
    except CONNECTION_ERRORS as error:
        return [error] * len(rows)
    except DatabaseError:
        errors = commit_each_row(rows)
        return [error or row.id for row, error in zip(rows, errors, strict=True)]
    stored_in = {row.id: group[0].id for group in groups for row in group}
    return [stored_in[row.id] for row in rows]


class _WaitingRow:
    """A row whose thread waits until it is committed, or until this thread has to commit."""

    def __init__(self, row: InboxRow) -> None:
        self.row = row
        self.woken = threading.Event()
        self.is_leader = False
        # Until the outcome is known, so that no row is ever taken for committed by mistake.
        self.error: Exception | None = OperationalError("The delivery was not committed.")


class GroupCommit:
    """Commits the rows of all threads that wait, all of one class, in one of these threads.

    While one group is committed the next one gathers: the slower a commit, the larger the group.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_WaitingRow] = []
        self._is_committing = False

    def commit(self, row: InboxRow) -> None:
        """Return once the row is committed.

        Raises:
            django.db.DatabaseError: it was not, or not in time to know; sending it again is safe.
        """
        mine = _WaitingRow(row)
        # The lock only guards the list and the choice of a leader: nothing is written under it.
        with self._lock:
            self._waiting.append(mine)
            mine.is_leader, self._is_committing = not self._is_committing, True
        if not mine.is_leader:
            self._wait(mine)
        if mine.is_leader:
            self._commit_waiting()
        if mine.error:
            raise mine.error

    def _wait(self, mine: _WaitingRow) -> None:
        """Wait for the outcome, or to become the leader; at the deadline, leave the group."""
        if mine.woken.wait(database_time_left(COMMIT_WAIT_SECONDS)):
            return
        with self._lock:
            # Woken between the deadline and the lock: then the outcome counts.
            if not mine.woken.is_set():
                if mine in self._waiting:
                    self._waiting.remove(mine)
                mine.woken.set()

    def _commit_waiting(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting, []
        try:
            errors = commit_each_row([waiting.row for waiting in group])
            for waiting, error in zip(group, errors, strict=True):
                waiting.error = error
        finally:
            # The next leader first: its commit need not wait until this group's threads have run.
            self._hand_over()
            for waiting in group:
                waiting.woken.set()

    def _hand_over(self) -> None:
        """Wake the first of the threads that came meanwhile as the next leader."""
        with self._lock:
            self._is_committing = bool(self._waiting)
            if self._waiting:
                self._waiting[0].is_leader = True
                self._waiting[0].woken.set()


delivery_group_commit = GroupCommit()
