"""Bodies: received within a time limit and at a minimum rate, so that nobody can send for ever."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from revcred.api.errors import BodyTooLarge, BodyTooSlow, MalformedRequest

MAX_POST_BYTES = 1_000_000  # of what gateways post
INCOMPLETE_BODY = "The body did not arrive whole."
BODY_TOO_LARGE = "A body has at most {:,} bytes, also when it is inflated. Send it in parts."
TOO_SLOW = "The body came too slowly. Send it again."


class RequestStream(Protocol):
    """What granian's RSGI gives to receive a body with: whole if called, else in parts."""

    async def __call__(self) -> bytes: ...

    def __aiter__(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class BodyLimits:
    """How long a body may be, and how long it may take."""

    bytes: int
    seconds: float  # in all
    bytes_per_second: float  # on average, after the first `grace_seconds`
    grace_seconds: float

    def seconds_for(self, received: int) -> float:
        """Return the time, from the beginning, by which more than `received` has to have come."""
        return min(self.seconds, self.grace_seconds + received / self.bytes_per_second)

    def check_length(self, length: int) -> None:
        if length > self.bytes:
            raise BodyTooLarge(BODY_TOO_LARGE.format(self.bytes))


def announced_length(headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length in bytes, or None of a chunked body. Raises MalformedRequest."""
    text = headers.get("content-length", "")
    if not text:
        return None if "transfer-encoding" in headers else 0
    if not text.isascii() or not text.isdigit():
        message = "The Content-Length is not a number."
        raise MalformedRequest(message)
    return int(text)


async def receive_body(
    stream: RequestStream, headers: Mapping[str, str], limits: BodyLimits
) -> bytes:
    """Return the whole body, as it was sent.

    Raises:
        MalformedRequest: the sender has hung up.
        BodyTooLarge, BodyTooSlow: it goes beyond the limits.
    """
    length = announced_length(headers)
    if length == 0:
        return b""
    if length is None:
        # Whether a chunked body ended as it should is not told. Its sender has no answer yet then,
        # and sends it again.
        return b"".join([part async for part in receive_parts(stream, limits)])
    limits.check_length(length)
    try:
        async with asyncio.timeout(limits.seconds_for(length)):
            body = await stream()
    except TimeoutError:
        raise BodyTooSlow(TOO_SLOW) from None
    except RuntimeError as error:  # granian's own error of a connection that is closed
        raise MalformedRequest(INCOMPLETE_BODY) from error
    if len(body) != length:
        raise MalformedRequest(INCOMPLETE_BODY)
    return body


async def receive_parts(stream: RequestStream, limits: BodyLimits) -> AsyncIterator[bytes]:
    """Yield the body in the parts in which it comes. Raises BodyTooLarge, BodyTooSlow."""
    began, received = time.monotonic(), 0
    parts = aiter(stream)
    while True:
        left = began + limits.seconds_for(received) - time.monotonic()
        try:
            part = await asyncio.wait_for(anext(parts), max(left, 0.001))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BodyTooSlow(TOO_SLOW) from None
        received += len(part)
        limits.check_length(received)
        yield part
