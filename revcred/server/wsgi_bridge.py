"""Django in a thread: what a WSGI application is given, and where its answer goes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from io import RawIOBase
from typing import IO, TYPE_CHECKING, Any, Protocol

from revcred.postgresql import database_deadline
from revcred.server.answers import CompleteAnswer, HeaderList

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

MAX_BYTES_AT_ONCE = 1_000_000  # a longer answer is sent in parts
SECONDS_FOR_PART = 60.0  # that a client may take to receive one


class PartsTransport(Protocol):
    """What granian gives to send an answer in parts."""

    async def send_bytes(self, data: bytes) -> None: ...


class AnswerProtocol(Protocol):
    """What granian's RSGI gives to answer a request with."""

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None: ...

    def response_empty(self, status: int, headers: HeaderList) -> None: ...

    def response_stream(self, status: int, headers: HeaderList) -> PartsTransport: ...


class StreamedBody(RawIOBase):
    """A body that a thread reads while the event loop receives it."""

    def __init__(self, parts: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._parts = parts
        self._loop = loop
        self._unread = memoryview(b"")
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into the buffer and return how many bytes. Raises OSError: no more will come."""
        if not self._unread:
            self._unread = memoryview(self._next_part())
        count = min(len(buffer), len(self._unread))
        buffer[:count] = self._unread[:count]
        self._unread = self._unread[count:]
        return count

    def _next_part(self) -> bytes:
        if self._error is None:
            try:
                return asyncio.run_coroutine_threadsafe(self._receive(), self._loop).result()
            except Exception as error:  # noqa: BLE001 - Django knows what to do about an OSError
                self._error = error
        message = str(self._error)
        raise OSError(message)

    async def _receive(self) -> bytes:
        async for part in self._parts:
            if part:  # nothing stands for the end
                return part
        return b""


@dataclass
class AnswerInParts:
    """An answer that is too long to be sent at once, sent by the thread that makes it."""

    protocol: AnswerProtocol
    loop: asyncio.AbstractEventLoop
    transport: PartsTransport | None = None

    def has_begun(self) -> bool:
        return self.transport is not None

    def begin(self, status: int, headers: HeaderList) -> None:
        self._run(self._begin(status, headers))

    def send(self, part: bytes) -> None:
        """Return once the client has taken the part. Raises TimeoutError, or granian's error."""
        self._run(self._send(part))

    async def _begin(self, status: int, headers: HeaderList) -> None:
        self.transport = self.protocol.response_stream(status, headers)

    async def _send(self, part: bytes) -> None:
        if self.transport:
            await self.transport.send_bytes(part)

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self.loop).result(SECONDS_FOR_PART)


def wsgi_environ(
    scope: Any, headers: Mapping[str, str], body: IO[bytes], *, length: int | None
) -> dict[str, Any]:
    """Return PEP 3333's environment of a request. `length`: of the body, None if it is chunked."""
    server, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        # WSGI has bytes as Latin-1.
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": peer_address(scope),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        # `x_forwarded_for` would pass for the header of the proxy, which has hyphens.
        if "_" not in name:
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if (value := environ.pop(f"HTTP_{name}", None)) is not None:
            environ[name] = value
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
    return environ


def peer_address(scope: Any) -> str:
    """Return the IP address at the other end of the connection."""
    return str(scope.client.rpartition(":")[0].strip("[]"))


def run_application(
    application: "WSGIApplication",
    environ: dict[str, Any],
    in_parts: AnswerInParts,
    *,
    database_seconds: float,
) -> CompleteAnswer | None:
    """Have the application answer in this thread; None if the answer was sent in parts."""
    started: list[tuple[int, HeaderList]] = []

    def start_response(status: str, headers: HeaderList, _: Any = None) -> Callable[[bytes], None]:
        started.append((int(status.split(" ", 1)[0]), list(headers)))
        return _refuse_to_write

    with database_deadline(database_seconds):
        parts = application(environ, start_response)
        try:
            return _send_or_return(parts, started, in_parts)
        finally:
            if close := getattr(parts, "close", None):
                close()


def _send_or_return(
    parts: Iterable[bytes], started: list[tuple[int, HeaderList]], in_parts: AnswerInParts
) -> CompleteAnswer | None:
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        if in_parts.has_begun():
            in_parts.send(part)
            continue
        gathered.append(part)
        size += len(part)
        if size > MAX_BYTES_AT_ONCE:
            in_parts.begin(*started[-1])
            in_parts.send(b"".join(gathered))
    if in_parts.has_begun():
        return None
    return CompleteAnswer(*started[-1], b"".join(gathered))


def _refuse_to_write(_: bytes) -> None:
    raise NotImplementedError
