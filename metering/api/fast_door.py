"""The fast door: an ASGI application for `POST /v1/transactions` and nothing else.

It runs the same steps as the web, on the same dialect. Without middleware and a thread for each
request, one process accepts several times as many small POSTs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, InterfaceError, close_old_connections
from rest_framework.exceptions import APIException, MethodNotAllowed, NotFound

from metering.api import bodies
from metering.api.dialects import Answer
from metering.api.pipeline import DatabaseTime, Intake
from metering.api.registered_doors import NATIVE_DOOR
from metering.inbox.group_commit import DeliveryRow, commit_each_row
from metering.inbox.intake import CommitDelivery, Step, Steps
from revcred.api.errors import DatabaseUnavailable, MalformedRequest

FAST_DOOR_PATHS = NATIVE_DOOR.paths
# A larger group would make the first of its gateways wait for the last, and a failed group is
# written again row by row.
MAX_ENTRIES_PER_COMMIT = 500

AsgiScope = dict[str, Any]
AsgiReceive = Callable[[], Awaitable[dict[str, Any]]]
AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]
T = TypeVar("T")


class AsyncGroupCommit:
    """A queue of inbox rows: those that arrive during one commit are written by the next one.

    One commit waits for the disk once, however many rows it has.
    """

    def __init__(
        self, commit_rows: Callable[[Sequence[DeliveryRow]], Awaitable[Sequence[Exception | None]]]
    ) -> None:
        self._commit_rows = commit_rows
        self._waiting: list[tuple[DeliveryRow, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def commit(self, row: DeliveryRow) -> None:
        """Return once the row is committed. Raises django.db.DatabaseError."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, committed))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await committed

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._waiting[:MAX_ENTRIES_PER_COMMIT]
            del self._waiting[:MAX_ENTRIES_PER_COMMIT]
            errors = await self._commit_rows([row for row, _ in group])
            for (_, committed), error in zip(group, errors, strict=True):
                # Cancelled: its client has hung up. The row is committed all the same, and the
                # client will send it again and be told that it is there.
                if committed.done():
                    continue
                if error is None:
                    committed.set_result(None)
                else:
                    committed.set_exception(error)
        self._writer = None


@dataclass(frozen=True)
class AsgiPost:
    """A POST that the event loop received whole."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def raw_body(self) -> bytes:
        return self.body


class FastDoor:
    """The ASGI application. All its queries run in one thread, which has one connection."""

    dialect = NATIVE_DOOR.dialect

    def __init__(self, thread: Executor) -> None:
        self._thread = thread
        self._group_commit = AsyncGroupCommit(self._commit_in_thread)

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["type"] == "http":
            await _send_answer(send, await self._answer(scope, receive))

    async def _answer(self, scope: AsgiScope, receive: AsgiReceive) -> Answer:
        path: str = scope["path"]
        try:
            headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
            }
            # The body first: some clients read no answer before they have sent all of it.
            body = await _receive_body(receive, int(headers.get("content-length") or 0))
            _check_path_and_method(scope)
            intake = Intake(AsgiPost(path, headers, body), self.dialect)
            return await self._run(intake.steps())
        except APIException as error:
            return self.dialect.answer_error(error, path)
        except (DatabaseError, InterfaceError):
            return self.dialect.answer_error(DatabaseUnavailable(), path)

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

    async def _commit_in_thread(self, rows: Sequence[DeliveryRow]) -> Sequence[Exception | None]:
        errors: Sequence[Exception | None] = await self._in_thread(
            DatabaseTime(), lambda: commit_each_row(rows)
        )
        return errors

    async def _in_thread(self, database_time: DatabaseTime, step: Step) -> Any:
        asked_at = time.monotonic()

        def perform() -> Any:
            # To the gateway, waiting for the thread is waiting for the database, too.
            database_time.spend(time.monotonic() - asked_at)
            # Django closes stale connections between requests, of which it knows nothing here.
            close_old_connections()
            return database_time.perform(step)

        return await asyncio.get_running_loop().run_in_executor(self._thread, perform)


def _check_path_and_method(scope: AsgiScope) -> None:
    """Let a POST to one of the door's paths pass; raise NotFound or MethodNotAllowed for others."""
    if scope["path"] not in FAST_DOOR_PATHS:
        raise NotFound
    if scope["method"] != "POST":
        raise MethodNotAllowed(scope["method"])


async def _receive_body(receive: AsgiReceive, length: int) -> bytes:
    """Return the whole body. Raises MalformedRequest, BodyTooLarge."""
    # The announced length first, then what really comes: a chunked body announces none.
    bodies.check_body_length(length)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedRequest(bodies.INCOMPLETE_BODY)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        bodies.check_body_length(size)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _send_answer(send: AsgiSend, answer: Answer) -> None:
    body = msgspec.json.encode(answer.body)
    all_headers = {
        "content-type": answer.content_type,
        "content-length": str(len(body)),
        **answer.headers,
    }
    pairs: Sequence[tuple[bytes, bytes]] = [
        (name.lower().encode(), value.encode()) for name, value in all_headers.items()
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
