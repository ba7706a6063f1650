"""The server as granian runs it, by its interface RSGI."""

import asyncio
import gc
import io
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse
from rest_framework.exceptions import APIException

from revcred.api.errors import ApiError, InternalError, error_answer
from revcred.request_id import REQUEST_ID_HEADER, choose_request_id, working_for
from revcred.runtime.health import ALIVE
from revcred.runtime.program_paths import is_program_path
from revcred.server.answers import CompleteAnswer
from revcred.server.heartbeat import Heartbeat
from revcred.server.pools import PoolFullError, RequestPool
from revcred.server.received import (
    MAX_POST_BYTES,
    BodyLimits,
    announced_length,
    receive_body,
    receive_parts,
)
from revcred.server.wsgi_bridge import (
    AnswerInParts,
    AnswerProtocol,
    StreamedBody,
    peer_address,
    run_application,
    wsgi_environ,
)
from revcred.uploads.reading import MAX_FILE_BYTES

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

logger = logging.getLogger(__name__)

LOWER_REQUEST_ID_HEADER = REQUEST_ID_HEADER.lower()
HEALTH_PATHS = ("/healthz", "/readyz")
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
MAX_FORM_BYTES = 2_500_000  # a form, or what else a program sends
RETRY_AFTER = {"Retry-After": "1"}  # seconds
BUSY = ApiError("unavailable", "The service is busy. Send the request again.")
BODY_GRACE_SECONDS = 5.0  # in which a body need not have its rate yet
UPLOAD_BUFFER_BYTES = 1 << 16
SWITCH_SECONDS = 0.0005  # after which a thread lets another one go on


ReceiveBody = Callable[[], Awaitable[bytes]]
AnswerInLoop = Callable[[Any, Mapping[str, str], ReceiveBody], Awaitable[CompleteAnswer]]


class LoopDoors(Protocol):
    """What answers in the event loop: it never blocks."""

    def take(self, method: str, path: str) -> bool:
        """Return True if the request is for it."""
        ...

    async def answer(
        self, path: str, headers: Mapping[str, str], receive: ReceiveBody
    ) -> CompleteAnswer: ...

    def answer_unavailable(self, path: str, headers: Mapping[str, str]) -> CompleteAnswer:
        """Return the answer while it is known that the database does not answer."""
        ...


class LoopChecks(Protocol):
    """Answers in the event loop to gateways that ask about a call before it goes on.

    It goes on while the database is away.
    """

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def take(self, method: str, path: str) -> bool:
        """Return True if the request is for it, and it can answer already."""
        ...

    def answer_at_once(self, check: Any, headers: Mapping[str, str]) -> CompleteAnswer | None:
        """Return an answer that needs no waiting, or None. The check is as of `answer`."""
        ...

    async def answer(
        self, check: Any, headers: Mapping[str, str], receive: ReceiveBody
    ) -> CompleteAnswer:
        """Return the answer to a request with `method`, `path` and `query_string`."""
        ...


class Server:
    """One process. Which requests reach it is a matter of the proxy; it can answer all of them."""

    def __init__(
        self, *, doors: LoopDoors, checks: LoopChecks, application: "WSGIApplication"
    ) -> None:
        self._doors = doors
        self._checks = checks
        self._application = application
        self._heartbeat = Heartbeat()
        self._programs = RequestPool("programs", threads=settings.PROGRAM_THREADS, seconds=10)
        self._pages = RequestPool(
            "pages", threads=settings.PAGE_THREADS, seconds=settings.STATEMENT_TIMEOUT + 2
        )
        self._uploads = RequestPool(
            "uploads", threads=settings.UPLOAD_THREADS, seconds=settings.UPLOAD_SECONDS + 60
        )
        self._upload_paths = {reverse("api:uploads"), reverse("admin:revcred_upload_add")}
        self._post_limits = _body_limits(MAX_POST_BYTES)
        self._form_limits = _body_limits(MAX_FORM_BYTES)
        self._upload_limits = _body_limits(
            MAX_FILE_BYTES + MAX_FORM_BYTES, seconds=settings.UPLOAD_SECONDS
        )
        self._busy_page = render_to_string("busy.html").encode()

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Beside a busy event loop, a thread that comes back from the database would else wait five
        # milliseconds for the interpreter, several times in each statement.
        sys.setswitchinterval(SWITCH_SECONDS)
        # What is loaded by now stays: collecting garbage need not go through it again and again.
        gc.collect()
        gc.freeze()
        self._heartbeat.start()
        self._checks.begin()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._heartbeat.stop()
        self._checks.end()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.path in HEALTH_PATHS:
            _send(protocol, self._answer_health(scope.path))
            return
        headers = _joined_headers(scope.headers)
        # As Django reads methods: one in lower case does not lead around the doors.
        method = scope.method.upper()
        if self._checks.take(method, scope.path):
            answer = self._check_at_once(scope, headers)
            if answer is None:
                answer = await self._answer_in_loop(scope, protocol, headers, self._check)
            _send(protocol, answer)
        elif self._doors.take(method, scope.path):
            _send(protocol, await self._answer_in_loop(scope, protocol, headers, self._post))
        elif in_one := await self._answer_by_django(scope, protocol, headers):
            _send(protocol, in_one)

    def _answer_health(self, path: str) -> CompleteAnswer:
        status, body = (HTTPStatus.OK, ALIVE) if path == "/healthz" else self._heartbeat.readiness
        return _json_answer(status, body)

    async def _answer_in_loop(
        self, scope: Any, protocol: Any, headers: Mapping[str, str], answer: AnswerInLoop
    ) -> CompleteAnswer:
        """Return an answer that needs no thread, with the headers that all answers have."""
        request_id = _request_id(scope, headers)
        receive = partial(receive_body, protocol, headers, self._post_limits)
        with working_for(request_id):
            answered = await answer(scope, headers, receive)
        return _with_common_headers(answered, request_id)

    async def _post(
        self, scope: Any, headers: Mapping[str, str], receive: ReceiveBody
    ) -> CompleteAnswer:
        if self._heartbeat.is_away:
            return self._doors.answer_unavailable(scope.path, headers)
        return await self._doors.answer(scope.path, headers, receive)

    def _check_at_once(self, scope: Any, headers: Mapping[str, str]) -> CompleteAnswer | None:
        request_id = _request_id(scope, headers)
        try:
            answered = self._checks.answer_at_once(scope, headers)
        except Exception:
            with working_for(request_id):
                logger.exception("A check failed.")
            answered = _refuse_program(*error_answer(InternalError()))
        return answered and _with_common_headers(answered, request_id)

    async def _check(
        self, scope: Any, headers: Mapping[str, str], receive: ReceiveBody
    ) -> CompleteAnswer:
        try:
            return await self._checks.answer(scope, headers, receive)
        except Exception:
            logger.exception("A check failed.")
            return _refuse_program(*error_answer(InternalError()))

    async def _answer_by_django(
        self, scope: Any, protocol: Any, headers: Mapping[str, str]
    ) -> CompleteAnswer | None:
        """Return Django's answer, or None if it was sent in parts."""
        refuse = _refuse_program if is_program_path(scope.path) else self._refuse_person
        in_parts = AnswerInParts(protocol, asyncio.get_running_loop())
        pool = self._pool_of(scope)
        try:
            length, body = await self._body_of(scope, protocol, headers, pool)
            environ = wsgi_environ(scope, headers, body, length=length)
            work = partial(
                run_application,
                *(self._application, environ, in_parts),
                database_seconds=pool.seconds,
            )
            return await pool.run(work, is_answering=in_parts.has_begun)
        except APIException as error:
            return refuse(*error_answer(error))
        except (PoolFullError, TimeoutError):
            return refuse(HTTPStatus.SERVICE_UNAVAILABLE, BUSY, RETRY_AFTER)
        except Exception:
            if in_parts.has_begun():
                # Its client has hung up, or is too slow.
                return None
            logger.exception("A request failed.")
            return refuse(*error_answer(InternalError()))

    def _pool_of(self, scope: Any) -> RequestPool:
        if scope.method == "POST" and scope.path in self._upload_paths:
            return self._uploads
        return self._programs if is_program_path(scope.path) else self._pages

    async def _body_of(
        self, scope: Any, protocol: Any, headers: Mapping[str, str], pool: RequestPool
    ) -> tuple[int | None, Any]:
        """Return the length, None if that is unknown, and what a thread reads the body from.

        Raises:
            MalformedRequest, BodyTooLarge, BodyTooSlow: as `receive_body`.
        """
        if pool is not self._uploads:
            body = await receive_body(protocol, headers, self._form_limits)
            return len(body), io.BytesIO(body)
        # Too long for our memory: the thread reads it as it comes.
        length = announced_length(headers)
        self._upload_limits.check_length(length or 0)
        parts = receive_parts(protocol, self._upload_limits)
        streamed = StreamedBody(parts, asyncio.get_running_loop())
        return length, io.BufferedReader(streamed, UPLOAD_BUFFER_BYTES)

    def _refuse_person(
        self, status: int, error: ApiError, headers: Mapping[str, str]
    ) -> CompleteAnswer:
        """Return the answer to a request of a person that Django never sees."""
        page = self._busy_page if error is BUSY else error.message.encode()
        kind = "text/html" if error is BUSY else "text/plain"
        return CompleteAnswer(
            status, [*headers.items(), ("Content-Type", f"{kind}; charset=utf-8")], page
        )


def _request_id(scope: Any, headers: Mapping[str, str]) -> str:
    return choose_request_id(headers.get(LOWER_REQUEST_ID_HEADER, ""), peer=peer_address(scope))


def _with_common_headers(answer: CompleteAnswer, request_id: str) -> CompleteAnswer:
    """Return the answer with the headers that Django's middleware adds to all else."""
    common = ((REQUEST_ID_HEADER, request_id), ("X-Content-Type-Options", "nosniff"))
    return CompleteAnswer(answer.status, [*answer.headers, *common], answer.body)


def _refuse_program(status: int, error: ApiError, headers: Mapping[str, str]) -> CompleteAnswer:
    return _json_answer(status, error, headers)


def _body_limits(max_bytes: int, *, seconds: float | None = None) -> BodyLimits:
    return BodyLimits(
        bytes=max_bytes,
        seconds=seconds or settings.BODY_SECONDS,
        bytes_per_second=settings.MIN_BODY_RATE,
        grace_seconds=BODY_GRACE_SECONDS,
    )


def _joined_headers(headers: Any) -> dict[str, str]:
    """Return the headers by lower-case name. What comes several times is joined."""
    joined: dict[str, str] = {}
    for name, value in headers.items():
        if name in joined:
            joined[name] += ("; " if name == "cookie" else ",") + value
        else:
            joined[name] = value
    return joined


def _json_answer(
    status: int, body: Any, headers: Mapping[str, str] | None = None
) -> CompleteAnswer:
    all_headers = [*(headers or {}).items(), ("Content-Type", "application/json")]
    return CompleteAnswer(status, all_headers, msgspec.json.encode(body))


def _send(protocol: AnswerProtocol, answer: CompleteAnswer) -> None:
    if answer.status in BODILESS:
        protocol.response_empty(answer.status, answer.headers)
    else:
        protocol.response_bytes(answer.status, answer.headers, answer.body)
