"""The fast door: an ASGI application for `POST /v1/transactions` and nothing else.

It shares decoder, checks, inbox and answers with `metering.api.transactions.TransactionsView`.
Without middleware and a thread for each request, one process accepts several times as many small
POSTs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import msgspec
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, InterfaceError, close_old_connections
from rest_framework.exceptions import APIException, MethodNotAllowed, NotFound

from metering.api import bodies
from metering.api.authentication import (
    DATABASE_DEADLINE_SECONDS,
    Admission,
    MayPost,
    require_admission,
    token_from_headers,
)
from metering.api.backlog import backlog
from metering.api.doors import record_body_rejection
from metering.api.errors import DatabaseUnavailable, error_answer
from metering.api.transactions import (
    TRANSACTIONS_PATH,
    accept_or_reject,
    acceptance_body,
    acceptance_status,
    call_maker,
    decode_transactions,
)
from metering.bells import inbox_bell
from metering.inbox import rejections
from metering.inbox.calls import Call, delivery_row
from metering.inbox.group_commit import DeliveryRow, commit_each_row
from metering.inbox.redaction import WithheldSecrets
from revcred.api.errors import MalformedRequest
from revcred.postgresql import database_deadline

FAST_DOOR_PATHS = {"/v1/transactions", "/v1/transactions/"}
# A larger group would make the first of its gateways wait for the last, and a failed group is
# written again row by row.
MAX_ENTRIES_PER_COMMIT = 500

AsgiScope = dict[str, Any]
AsgiReceive = Callable[[], Awaitable[dict[str, Any]]]
AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]
AnswerParts = tuple[int, dict[str, Any], dict[str, str]]
T = TypeVar("T")


class AsyncGroupCommit:
    """A queue of inbox rows: those that arrive during one commit are written by the next one.

    One commit waits for the disk once, however many rows it has.
    """

    def __init__(self, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._in_thread = in_thread
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
            errors = await self._in_thread(commit_each_row, [row for row, _ in group])
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


class FastDoor:
    """The ASGI application. All its queries run in one thread, which has one connection."""

    def __init__(self, thread: Executor) -> None:
        self._thread = thread
        self._group_commit = AsyncGroupCommit(self._in_thread)

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["type"] == "http":
            await _send_answer(send, *await self._answer(scope, receive))

    async def _answer(self, scope: AsgiScope, receive: AsgiReceive) -> AnswerParts:
        try:
            return *await self._accept(scope, receive), {}
        except APIException as error:
            return error_answer(error)
        except (DatabaseError, InterfaceError):
            return error_answer(DatabaseUnavailable())

    async def _accept(self, scope: AsgiScope, receive: AsgiReceive) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer to a POST. Raises APIException, DatabaseError."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        # The body first: some clients read no answer before they have sent all of it.
        body = await _receive_body(receive, int(headers.get("content-length") or 0))
        _check_path_and_method(scope)
        admission = await self._admit(headers)
        gateway, withheld = admission.gateway.pk, WithheldSecrets(token_from_headers(headers))
        try:
            inflated = bodies.inflate_body(body, headers.get("content-encoding", ""))
            read = decode_transactions(inflated, headers.get("content-type", ""))
        except APIException as error:
            await self._in_thread(
                record_body_rejection, gateway, TRANSACTIONS_PATH, error, withheld
            )
            raise
        calls, rejected = accept_or_reject(read, call_maker(admission))
        row = await self._encode(
            gateway,
            calls,
            withheld=withheld,
            rejected=len(rejected),
            ids_from_callers=admission.gateway.ids_from_callers,
        )
        await self._group_commit.commit(row)
        inbox_bell.ring()
        backlog.add(gateway, len(calls))
        if rejected:
            record = partial(rejections.record_rejections, withheld=withheld)
            await self._in_thread(record, gateway, TRANSACTIONS_PATH, rejected)
        return acceptance_status(calls, rejected), acceptance_body(row.id, calls, rejected)

    async def _admit(self, headers: dict[str, str]) -> Admission:
        tokens = headers.get("authorization", ""), headers.get("x-api-key", "")
        try:
            return _check_admission(*tokens)
        except SynchronousOnlyOperation:
            # Django forbids queries in the event loop. Most requests need none, since admission and
            # backlog are cached; once a second one has to query, and goes to the thread.
            return await self._in_thread(_check_admission, *tokens)

    async def _encode(self, gateway: int, calls: Sequence[Call], **named: Any) -> DeliveryRow:
        try:
            return delivery_row(gateway, calls, **named)
        except SynchronousOnlyOperation:
            # A text of the call holds its key, and only the database knows if the key is also the
            # name of a customer or source, which must stay.
            return await self._in_thread(partial(delivery_row, **named), gateway, calls)

    async def _in_thread(self, step: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        # Set before the step waits for the thread: to its gateway that is waiting, too.
        deadline = time.monotonic() + DATABASE_DEADLINE_SECONDS
        return await loop.run_in_executor(
            self._thread, _run_within_deadline, deadline, step, *arguments
        )


def _check_admission(authorization: str, api_key: str) -> Admission:
    admission = require_admission(authorization, api_key)
    MayPost.check(admission)
    backlog.check(admission.gateway.pk)
    return admission


def _run_within_deadline(deadline: float, step: Callable[..., T], *arguments: Any) -> T:
    """Run a step in what is left until the deadline, in seconds of `time.monotonic()`."""
    # Django closes stale connections between requests, of which it knows nothing here.
    close_old_connections()
    with database_deadline(max(0.0, deadline - time.monotonic())):
        return step(*arguments)


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


async def _send_answer(
    send: AsgiSend, status: int, answer: dict[str, Any], headers: dict[str, str]
) -> None:
    body = msgspec.json.encode(answer)
    all_headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **headers,
    }
    pairs: Sequence[tuple[bytes, bytes]] = [
        (name.lower().encode(), value.encode()) for name, value in all_headers.items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
