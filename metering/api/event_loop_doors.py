"""All doors in the server's event loop: what gateways post needs neither middleware nor a thread.

The same steps as in Django's views, on the same dialects. One process accepts several times as many
small POSTs so, and a sender who takes his time holds nothing.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, InterfaceError, close_old_connections
from rest_framework.exceptions import APIException, AuthenticationFailed

from metering.api.authentication import Admission, cached_gateway_id
from metering.api.concurrency import (
    NOBODY,
    FairTurns,
    InFlightRequests,
    RejectionPause,
    WaitingByGateway,
)
from metering.api.errors import SlowDown
from metering.api.pipeline import DatabaseTime, Intake
from metering.api.registered_doors import DOORS
from metering.inbox.group_commit import DeliveryRow, commit_joined
from metering.inbox.intake import CommitDelivery, Step, Steps
from revcred.api.errors import DatabaseUnavailable, InternalError
from revcred.server.answers import CompleteAnswer

logger = logging.getLogger(__name__)

# A larger group would make the first of its gateways wait for the last, and a failed group is
# written again row by row.
MAX_ENTRIES_PER_COMMIT = 500
# A gateway with few small posts that comes meanwhile waits for this commit, and for its own.
MAX_COMMIT_CHARACTERS = 200_000
# Of a POST that takes the event loop milliseconds to read, whose turn is always waited for.
LARGE_POST_BYTES = 5_000

T = TypeVar("T")
WaitingRow = tuple[DeliveryRow, asyncio.Future[UUID]]
# Given rows, return for each the id of what it is stored in, or the error.
CommitRows = Callable[[Sequence[DeliveryRow]], Awaitable[Sequence[UUID | Exception]]]


class AsyncGroupCommit:
    """A queue of inbox rows: those that arrive during one commit are written by the next one.

    One commit waits for the disk once, however many rows it has.
    """

    def __init__(self, commit_rows: CommitRows) -> None:
        self._commit_rows = commit_rows
        self._waiting: WaitingByGateway[WaitingRow] = WaitingByGateway()
        self._writer: asyncio.Task[None] | None = None

    async def commit(self, row: DeliveryRow) -> UUID:
        """Return the id of what the row is stored in, once that is committed.

        Raises:
            django.db.DatabaseError: it is not; sending it again is safe.
        """
        committed: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()
        self._waiting.append(row.gateway_id, (row, committed))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        return await committed

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._take_group()
            outcomes = await self._commit_rows([row for row, _ in group])
            for (_, committed), outcome in zip(group, outcomes, strict=True):
                # Cancelled: its client has hung up. The row is committed all the same, and the
                # client will send it again and be told that it is there.
                if committed.done():
                    continue
                if isinstance(outcome, UUID):
                    committed.set_result(outcome)
                else:
                    committed.set_exception(outcome)
        self._writer = None

    def _take_group(self) -> "list[WaitingRow]":
        """Take the rows of the next commit off the queue: those of all gateways in turn."""
        group: list[WaitingRow] = []
        characters = 0
        while self._waiting and len(group) < MAX_ENTRIES_PER_COMMIT:
            for _ in range(self._waiting.count_gateways()):
                row, committed = self._waiting.pop()
                group.append((row, committed))
                characters += len(row.body)
            if characters > MAX_COMMIT_CHARACTERS:
                break
        return group


@dataclass(frozen=True)
class ReceivedPost:
    """A POST that the event loop received whole."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def raw_body(self) -> bytes:
        return self.body


class EventLoopDoors:
    """Answers every POST at a door. All its queries run in one thread, which has one connection."""

    def __init__(self, thread: Executor | None = None) -> None:
        self._thread = thread or ThreadPoolExecutor(1, "doors")
        self._group_commit = AsyncGroupCommit(self._commit_in_thread)
        doors = DOORS if settings.DOORS_IN_EVENT_LOOP else ()
        self._dialects = {path: door.dialect for door in doors for path in door.paths}
        self._in_flight = InFlightRequests(share_above=settings.FAIR_SHARE_ABOVE)
        self._turns = FairTurns()
        self._rejection_pause = RejectionPause()

    def take(self, method: str, path: str) -> bool:
        """Return True if this is a POST at a door."""
        return method == "POST" and path in self._dialects

    async def answer(
        self, path: str, headers: Mapping[str, str], receive: Callable[[], Awaitable[bytes]]
    ) -> CompleteAnswer:
        """Return the answer to a POST, whose body is yet to be received.

        What `receive` raises as an APIException is answered like any other error.
        """
        dialect = self._dialects[path]
        admission: Admission | None = None
        intake: Intake | None = None
        gateway_id = cached_gateway_id(
            headers.get("authorization", ""), headers.get("x-api-key", "")
        )
        try:
            # Before the body is there, so that turning away costs next to nothing.
            with self._in_flight.slot(gateway_id or NOBODY):
                # The body before all else: some clients read no answer until they have sent it.
                body = await receive()
                intake = Intake(ReceivedPost(path, headers, body), dialect)
                async with self._turn(gateway_id, len(body)):
                    answer = await self._run(intake.steps())
        except (AuthenticationFailed, SlowDown) as error:
            admission = intake.admission if intake else None
            # The body, which both refer to, is not held during the pause.
            intake, rejection = None, error.with_traceback(None)
            await self._rejection_pause.wait(gateway_id or NOBODY)
            answer = dialect.answer_error(rejection, path)
        except APIException as error:
            answer = dialect.answer_error(error, path)
        except (DatabaseError, InterfaceError):
            answer = dialect.answer_error(DatabaseUnavailable(), path)
        except Exception:
            # Granian would print the error's text, which may quote what was sent.
            logger.exception("A POST failed.")
            answer = dialect.answer_error(InternalError(), path)
        if intake:
            admission = intake.admission
        return dialect.encode(
            answer, headers=headers, gateway=admission.gateway if admission else None
        )

    def answer_unavailable(self, path: str, headers: Mapping[str, str]) -> CompleteAnswer:
        """Return the answer while it is known that the database does not answer."""
        dialect = self._dialects[path]
        answer = dialect.answer_error(DatabaseUnavailable(), path)
        return dialect.encode(answer, headers=headers, gateway=None)

    @asynccontextmanager
    async def _turn(self, gateway_id: int | None, body_bytes: int) -> AsyncIterator[None]:
        """Wait until it is this POST's turn. A small one of a known gateway with few goes ahead."""
        is_small = body_bytes <= LARGE_POST_BYTES
        if gateway_id and is_small and self._in_flight.has_few(gateway_id):
            with self._turns.going_ahead():
                yield
            return
        # Also of a gateway that posts alone: what others send meanwhile, and the answers to what is
        # committed, would wait for all of its POSTs.
        if not is_small or self._in_flight.is_shared():
            await self._turns.wait_for_turn(gateway_id or NOBODY)
        yield

    async def _run(self, steps: Steps[T]) -> T:
        """Run the steps, each here if it needs no query, else in the thread."""
        database_time = DatabaseTime()
        advance: Callable[[Any], Step] = steps.send
        outcome: Any = None
        try:
            while True:
                step = advance(outcome)
                try:
                    advance, outcome = steps.send, await self._perform(step, database_time)
                except Exception as error:  # noqa: BLE001 - the steps say what becomes of it
                    advance, outcome = steps.throw, error
        except StopIteration as ended:
            result: T = ended.value
            return result

    async def _perform(self, step: Step, database_time: DatabaseTime) -> Any:
        if isinstance(step, CommitDelivery):
            return await self._group_commit.commit(step.row)
        try:
            return step()
        except SynchronousOnlyOperation:
            # Django forbids queries in the event loop. Most steps need none, since admission and
            # backlog are cached.
            return await self._in_thread(database_time, step)

    async def _commit_in_thread(self, rows: Sequence[DeliveryRow]) -> Sequence[UUID | Exception]:
        outcomes: Sequence[UUID | Exception] = await self._in_thread(
            DatabaseTime(), lambda: commit_joined(rows)
        )
        return outcomes

    async def _in_thread(self, database_time: DatabaseTime, step: Step) -> Any:
        asked_at = time.monotonic()

        def perform() -> Any:
            # To the gateway, waiting for the thread is waiting for the database, too.
            database_time.spend(time.monotonic() - asked_at)
            # Django closes stale connections between requests, of which it knows nothing here.
            close_old_connections()
            return database_time.perform(step)

        return await asyncio.get_running_loop().run_in_executor(self._thread, perform)
