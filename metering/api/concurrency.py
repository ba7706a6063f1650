"""The concurrency limit: a gateway that holds most threads makes way for the other gateways."""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
from cachetools import LRUCache
from django.conf import settings

from metering.api.authentication import cached_gateway_id
from metering.api.errors import SlowDown
from revcred.api.errors import error_answer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

T = TypeVar("T")

OVER_FAIR_SHARE_MESSAGE = "This gateway has most of the requests in flight. Send it again."
# All whose tokens are not known, or not for long, are counted together.
NOBODY = 0
# Within a second, of one sender: a gateway that was suspended, or does not slow down.
REJECTIONS_WITHOUT_PAUSE = 20
REJECTION_PAUSE_SECONDS = 1.0  # as long as `SlowDown` asks for
MAX_PAUSING_ANSWERS = 500  # in a process; each holds a connection
MAX_REJECTED_SENDERS = 1_000  # remembered in a process
# A turn is given at the latest so long after the one before, whoever goes ahead meanwhile.
MAX_HOLD_SECONDS = 0.02
HOLD_STEP_SECONDS = 0.001
RECENTLY_SEEN_SECONDS = 10.0  # a gateway seen within them counts as one that shares the threads


class InFlightRequests:
    """The requests that this process is answering, by gateway.

    When few threads are free, a gateway that has more than its fair share of requests is answered
    429, so that a gateway with few requests need not wait behind one with many.
    """

    def __init__(self, *, share_above: int) -> None:
        self._share_above = share_above  # from this many in flight on, each gateway gets a share
        # Every request thread counts here. Without the lock two threads could both take the last
        # place, or lose a decrement and hold a place for ever.
        self._lock = threading.Lock()
        self._in_flight: Counter[int] = Counter()
        self._seen_at: dict[int, float] = {}

    @contextmanager
    def slot(self, gateway_id: int) -> Iterator[None]:
        """Count one request of the gateway as in flight.

        Raises:
            SlowDown: the gateway has more than its fair share of the requests in flight.
        """
        self._take_slot(gateway_id)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[gateway_id] -= 1
                # Gateways without requests would otherwise stay in the counter, and `total()`
                # would take longer with every gateway that was ever seen.
                if not self._in_flight[gateway_id]:
                    del self._in_flight[gateway_id]

    def is_shared(self) -> bool:
        """Return True if requests of several gateways are in flight."""
        return len(self._in_flight) > 1

    def has_few(self, gateway_id: int) -> bool:
        """Return True if others have more requests in flight than this gateway has."""
        return self._in_flight[gateway_id] * len(self._in_flight) < self._in_flight.total()

    def _take_slot(self, gateway_id: int) -> None:
        with self._lock:
            if gateway_id != NOBODY:
                self._seen_at[gateway_id] = time.monotonic()
            if self._in_flight.total() >= self._share_above:
                # Nobody gets one share beside the gateways, and takes none of theirs.
                sharing = self._count_recent_gateways() + (gateway_id == NOBODY)
                fair_share = self._in_flight.total() / sharing
                if self._in_flight[gateway_id] > fair_share:
                    raise SlowDown(OVER_FAIR_SHARE_MESSAGE)
            self._in_flight[gateway_id] += 1

    def _count_recent_gateways(self) -> int:
        since = time.monotonic() - RECENTLY_SEEN_SECONDS
        return sum(seen_at >= since for seen_at in self._seen_at.values())


class WaitingByGateway(Generic[T]):
    """What waits for a turn. Gateways take turns; of each, what came first is first."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[T]] = {}  # by gateway, the next one first

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def count_gateways(self) -> int:
        return len(self._waiting)

    def append(self, gateway_id: int, item: T) -> None:
        self._waiting.setdefault(gateway_id, deque()).append(item)

    def pop(self) -> T:
        """Take the first item of the gateway whose turn it is. Raises StopIteration if empty."""
        gateway_id, items = next(iter(self._waiting.items()))
        del self._waiting[gateway_id]
        item = items.popleft()
        if items:
            self._waiting[gateway_id] = items  # at the end: all others are next
        return item


class FairTurns:
    """Turns in the event loop: one POST after the other, and of one gateway after the other.

    A large POST takes milliseconds to read. Without turns, that of a gateway with few would wait
    for all that a gateway with many has sent before it.
    """

    def __init__(self) -> None:
        self._waiting: WaitingByGateway[asyncio.Future[None]] = WaitingByGateway()
        self._going_ahead = 0
        self._held_until = 0.0  # by the loop's clock

    @contextmanager
    def going_ahead(self) -> Iterator[None]:
        """Hold up the turns of others a little, until this POST is answered.

        Its answer takes several steps, and each would wait until another large POST is read.
        """
        self._going_ahead += 1
        try:
            yield
        finally:
            self._going_ahead -= 1

    async def wait_for_turn(self, gateway_id: int) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._give_next)
        self._waiting.append(gateway_id, turn)
        await turn

    def _give_next(self) -> None:
        loop = asyncio.get_running_loop()
        if self._going_ahead and loop.time() < self._held_until:
            loop.call_later(HOLD_STEP_SECONDS, self._give_next)
            return
        self._held_until = loop.time() + MAX_HOLD_SECONDS
        turn = self._waiting.pop()
        if not turn.done():  # cancelled, because its client has hung up
            turn.set_result(None)
        if self._waiting:
            # After what this turn does, and after what has come meanwhile.
            loop.call_soon(self._give_next)


class RejectionPause:
    """A pause before an answer that rejects a POST, once its sender has had many of them.

    Whoever tries one token after the other, or goes on when told to slow down, is slow then. What
    they cost no longer depends on how fast this process is. A pause holds no thread and no body.
    """

    def __init__(self) -> None:
        self._rejected_at: LRUCache[int, deque[float]] = LRUCache(maxsize=MAX_REJECTED_SENDERS)
        self._pausing = 0

    async def wait(self, sender: int) -> None:
        """Count one more of a gateway, or of nobody. Wait if it had many within the last second."""
        now = time.monotonic()
        rejected_at = self._rejected_at.setdefault(sender, deque(maxlen=REJECTIONS_WITHOUT_PAUSE))
        are_many = (
            len(rejected_at) == REJECTIONS_WITHOUT_PAUSE
            and now - rejected_at[0] < REJECTION_PAUSE_SECONDS
        )
        rejected_at.append(now)
        if not are_many or self._pausing >= MAX_PAUSING_ANSWERS:
            return
        self._pausing += 1
        try:
            await asyncio.sleep(REJECTION_PAUSE_SECONDS)
        finally:
            self._pausing -= 1


class ConcurrencyLimiter:
    """A WSGI application around the project's own that limits the requests of one gateway.

    It runs before Django's middleware, so that a 429 costs next to nothing.
    """

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application
        # The last thread is for a gateway that has few of them.
        self._in_flight = InFlightRequests(share_above=settings.PROGRAM_THREADS - 1)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        tokens = environ.get("HTTP_AUTHORIZATION", ""), environ.get("HTTP_X_API_KEY", "")
        # Only the cache is asked: a database query here would itself need a free thread. A gateway
        # that is not cached yet is let through once, and its own request puts it into the cache.
        gateway_id = cached_gateway_id(*tokens) if any(tokens) else None
        if gateway_id is None:
            return self._application(environ, start_response)
        try:
            with self._in_flight.slot(gateway_id):
                return self._application(environ, start_response)
        except SlowDown as error:
            return _answer_slow_down(error, start_response)


def _answer_slow_down(error: SlowDown, start_response: "StartResponse") -> Iterable[bytes]:
    status, answer, error_headers = error_answer(error)
    body = msgspec.json.encode(answer)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **error_headers,
    }
    start_response(f"{status} {HTTPStatus(status).phrase}", list(headers.items()))
    return [body]
