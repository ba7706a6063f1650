"""The inbox: where deliveries are safe. Those that come at the same time are committed together."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import randbits
from time import time_ns
from typing import Any, ClassVar, Protocol
from uuid import UUID

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from revcred.postgresql import database_time_left

# The answer is the id that was given, so that a second try after a lost answer changes nothing.
INSERT_DELIVERIES = """
INSERT INTO metering_delivery (id, gateway_id, transactions, rejected, passed_over, body)
SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::int[], %b::int[], %b::int[], %b::text[])
ON CONFLICT (id) DO NOTHING
"""

# The same, and when what came before under the same identities happened.
FIND_EARLIER = (
    "SELECT identity, occurred_at FROM metering_remembered WHERE identity = ANY(%b::uuid[])"
)
INSERT_AND_FIND_EARLIER = f"WITH kept AS ({INSERT_DELIVERIES}) {FIND_EARLIER}"

CONNECTION_ERRORS = (OperationalError, InterfaceError)
CONSECUTIVE_FREE_IDS = 1 << 16
COMMIT_WAIT_SECONDS = 30.0  # seconds that others are waited for; who has less of it says so


class InboxRow(Protocol):
    """What is kept by a statement that takes its columns as arrays."""

    @property
    def statement(self) -> str: ...

    def row(self) -> Sequence[Any]: ...

    def hear(self, rows: Sequence[Any]) -> None:
        """What the statement answered."""


@dataclass(frozen=True)
class DeliveryRow:
    """One POST's worth. `body` is a JSON array of calls in our own terms."""

    statement: ClassVar = INSERT_DELIVERIES

    gateway_id: int
    transactions: int
    rejected: int
    body: str
    id: UUID = field(default_factory=lambda: UUID(int=time_ordered_id()))
    passed_over: int = 0  # records that are no calls

    def row(self) -> Sequence[Any]:
        return (
            *(self.id, self.gateway_id, self.transactions, self.rejected, self.passed_over),
            self.body,
        )

    def hear(self, rows: Sequence[Any]) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class WithDuplicateLookup:
    """Hears when the transaction of its identity happened, if that came before and is settled."""

    identity: UUID
    recalled: list[datetime] = field(default_factory=list)

    def hear(self, rows: Sequence[Any]) -> None:
        self.recalled.extend(at for identity, at in rows if identity == self.identity)

    @property
    def first_at(self) -> datetime | None:
        return self.recalled[0] if self.recalled else None


def time_ordered_id() -> int:
    """A version 7 UUID that is followed by CONSECUTIVE_FREE_IDS free ones."""
    high, low = divmod(randbits(74) & -CONSECUTIVE_FREE_IDS, 1 << 62)
    return time_ns() // 1_000_000 << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low


def commit_rows(entries: Sequence[InboxRow]) -> None:
    """Commit them all, all of one kind, or none.

    Raises django.db.DatabaseError or InterfaceError.

    A connection that broke since it was last used is made anew, once.
    """
    statement = entries[0].statement
    columns = [list(column) for column in zip(*(entry.row() for entry in entries), strict=True)]
    try:
        rows = _execute_with_arrays(statement, columns)
    except CONNECTION_ERRORS:
        if (
            connection.in_atomic_block
            or connection.is_usable()
            or not database_time_left(COMMIT_WAIT_SECONDS)
        ):
            raise
        connection.close()
        rows = _execute_with_arrays(statement, columns)
    for entry in entries:
        entry.hear(rows)


def commit_each_row(entries: Sequence[InboxRow]) -> list[Exception | None]:
    """Commit them together, and say of each what went wrong. One that is bad spoils no other."""
    try:
        commit_rows(entries)
    except CONNECTION_ERRORS as error:
        return [error] * len(entries)
    except DatabaseError as error:
        if len(entries) == 1:
            return [error]
        return [outcome for entry in entries for outcome in commit_each_row([entry])]
    return [None] * len(entries)


def _execute_with_arrays(statement: str, columns: Sequence[Sequence[Any]]) -> Sequence[Any]:
    connection.ensure_connection()
    # Not Django's own cursor, which writes every body into the statement, escaped.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(statement, columns)
        return cursor.fetchall() if cursor.description else ()


class _WaitingRow:
    """An entry whose thread waits for it to be committed, or to be the one who commits."""

    def __init__(self, entry: InboxRow) -> None:
        self.entry = entry
        self.woken = threading.Event()
        self.leads = False
        # Until somebody knows better, so that nothing is ever taken for committed by mistake.
        self.error: Exception | None = OperationalError("The delivery was not kept.")


class GroupCommit:
    """Commits the entries, all of one kind, of all threads that wait, in one of these threads.

    While one group is written the next one gathers: the slower a commit, the larger the group.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_WaitingRow] = []
        self._writing = False

    def keep(self, entry: InboxRow) -> None:
        """Returns once the entry is committed. Raises django.db.DatabaseError."""
        mine = _WaitingRow(entry)
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._writing = not self._writing, True
        if not mine.leads:
            self._wait(mine)
        if mine.leads:
            self._write_all()
        if mine.error:
            raise mine.error

    def _wait(self, mine: _WaitingRow) -> None:
        if mine.woken.wait(database_time_left(COMMIT_WAIT_SECONDS)):
            return
        with self._lock:
            if not mine.woken.is_set():
                if mine in self._waiting:
                    self._waiting.remove(mine)
                mine.woken.set()

    def _write_all(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting, []
        try:
            errors = commit_each_row([each.entry for each in group])
            for each, error in zip(group, errors, strict=True):
                each.error = error
        finally:
            self._hand_over()
            for each in group:
                each.woken.set()

    def _hand_over(self) -> None:
        with self._lock:
            self._writing = bool(self._waiting)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].woken.set()


delivery_group_commit = GroupCommit()
