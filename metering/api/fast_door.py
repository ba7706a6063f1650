"""The fast door: POST /v1/transactions and nothing else, without the layers a page needs.

The same decoder, checks, inbox and answers as `metering.api.transactions.Transactions`, for an
event loop: one process takes in several times as many small POSTs.
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
    LONGEST_WAIT,
    Admission,
    MayPost,
    admission_for,
    token_of,
)
from metering.api.backlog import backlog
from metering.api.doors import keep_all_rejected
from metering.api.errors import Unavailable, answer_to
from metering.api.transactions import (
    ADDRESS,
    answer_of,
    judge,
    read_in,
    status_of,
    taker,
)
from metering.bells import bell
from metering.inbox import rejections
from metering.inbox.calls import Call, entry_of
from metering.inbox.group_commit import Entry, write_each
from metering.inbox.redaction import Withheld
from revcred.api.errors import Malformed
from revcred.postgresql import patience

PATHS = {"/v1/transactions", "/v1/transactions/"}
MOST_TOGETHER = 500  # entries in one commit

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Answer = tuple[int, dict[str, Any], dict[str, str]]
T = TypeVar("T")


class Gathering:
    """Commits what came while the last commit was under way, all of it in the next one."""

    def __init__(self, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._in_thread = in_thread
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def keep(self, entry: Entry) -> None:
        """Returns once the entry is committed. Raises django.db.DatabaseError."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, kept))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await kept

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._waiting[:MOST_TOGETHER]
            del self._waiting[:MOST_TOGETHER]
            errors = await self._in_thread(write_each, [entry for entry, _ in group])
            for (_, kept), error in zip(group, errors, strict=True):
                if kept.done():  # its client has gone
                    continue
                if error is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(error)
        self._writer = None


class FastDoor:
    """An ASGI application. The database is only spoken to from one thread of its own."""

    def __init__(self, thread: Executor) -> None:
        self._thread = thread
        self._gathering = Gathering(self._in_thread)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _respond(send, *await self._answer(scope, receive))

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            return *await self._take_in(scope, receive), {}
        except APIException as error:
            return answer_to(error)
        except (DatabaseError, InterfaceError):
            return answer_to(Unavailable())

    async def _take_in(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        body = await _body(receive, int(headers.get("content-length") or 0))
        _check_address(scope)
        admission = await self._admit(headers)
        gateway, withheld = admission.gateway.pk, Withheld(token_of(headers))
        try:
            inflated = bodies.inflate(body, headers.get("content-encoding", ""))
            read = read_in(inflated, headers.get("content-type", ""))
        except APIException as error:
            await self._in_thread(keep_all_rejected, gateway, ADDRESS, error, withheld)
            raise
        calls, rejected = judge(read, taker(admission))
        entry = await self._encode(
            gateway,
            calls,
            withheld=withheld,
            rejected=len(rejected),
            ids_from_callers=admission.gateway.ids_from_callers,
        )
        await self._gathering.keep(entry)
        bell.ring()
        backlog.add(gateway, len(calls))
        if rejected:
            keep = partial(rejections.keep, withheld=withheld)
            await self._in_thread(keep, gateway, ADDRESS, rejected)
        return status_of(calls, rejected), answer_of(entry.id, calls, rejected)

    async def _admit(self, headers: dict[str, str]) -> Admission:
        tokens = headers.get("authorization", ""), headers.get("x-api-key", "")
        try:
            return _admit(*tokens)
        except SynchronousOnlyOperation:  # what is known is too old: the database has to be asked
            return await self._in_thread(_admit, *tokens)

    async def _encode(self, gateway: int, calls: Sequence[Call], **named: Any) -> Entry:
        try:
            return entry_of(gateway, calls, **named)
        except SynchronousOnlyOperation:  # a key stands in a call: is it also a name entered here?
            return await self._in_thread(partial(entry_of, **named), gateway, calls)

    async def _in_thread(self, step: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + LONGEST_WAIT
        return await loop.run_in_executor(self._thread, _before, deadline, step, *arguments)


def _admit(authorization: str, api_key: str) -> Admission:
    admission = admission_for(authorization, api_key)
    MayPost.check(admission)
    backlog.check(admission.gateway.pk)
    return admission


def _before(deadline: float, step: Callable[..., T], *arguments: Any) -> T:
    """The time a step waits for the thread is time its gateway waits."""
    close_old_connections()
    with patience(max(0.0, deadline - time.monotonic())):
        return step(*arguments)


def _check_address(scope: Scope) -> None:
    """Raises NotFound, MethodNotAllowed."""
    if scope["path"] not in PATHS:
        raise NotFound
    if scope["method"] != "POST":
        raise MethodNotAllowed(scope["method"])


async def _body(receive: Receive, length: int) -> bytes:
    """Raises Malformed, TooLarge."""
    bodies.check_length(length)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Malformed(bodies.NOT_WHOLE)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        bodies.check_length(size)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _respond(
    send: Send, status: int, answer: dict[str, Any], headers: dict[str, str]
) -> None:
    body = msgspec.json.encode(answer)
    said = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    pairs: Sequence[tuple[bytes, bytes]] = [
        (name.lower().encode(), value.encode()) for name, value in said.items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
