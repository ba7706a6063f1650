"""Pools of threads: each class of requests has its own, and none waits for another's."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prometheus_client import Counter, Gauge

T = TypeVar("T")

WAITING_PER_THREAD = 4  # requests that may wait for a thread; more are turned away

# Of this process: `/metrics` answers for the process that is asked.
REQUESTS = Gauge(
    "revcred_pool_requests",
    "Requests that have a thread or wait for one, in the process that answers",
    ["pool"],
    registry=None,
)
PLACES = Gauge(
    "revcred_pool_places",
    "Requests that may have a thread or wait for one, in the process that answers",
    ["pool"],
    registry=None,
)
TURNED_AWAY = Counter(
    "revcred_pool_turned_away",
    "Requests answered 503 since the process that answers began, as no place was free",
    ["pool"],
    registry=None,
)
LATE = Counter(
    "revcred_pool_late",
    "Requests answered 503 since the process that answers began, as their time was over",
    ["pool"],
    registry=None,
)
POOL_METRICS = (REQUESTS, PLACES, TURNED_AWAY, LATE)


class PoolFullError(Exception):
    """So many requests wait for a thread already that this one had better come again."""


class RequestPool:
    """Threads for one class of requests, and a short queue before them."""

    def __init__(self, name: str, *, threads: int, seconds: float) -> None:
        self.seconds = seconds  # that a request may take, waiting included
        self._executor = ThreadPoolExecutor(threads, name)
        self._places = threads * (1 + WAITING_PER_THREAD)
        self._taken = 0
        self._requests = REQUESTS.labels(name)
        self._turned_away = TURNED_AWAY.labels(name)
        self._late = LATE.labels(name)
        PLACES.labels(name).set(self._places)

    async def run(
        self, function: Callable[[], T], *, is_answering: Callable[[], bool] = lambda: False
    ) -> T:
        """Run the function in a thread and return what it returns.

        At the end of its time nobody waits for it any longer, unless it `is_answering` already. It
        is not ended: its place is free when it is done.

        Raises:
            PoolFullError: it was not begun.
            TimeoutError: its time is over.
        """
        # Only the event loop counts, so that no lock is needed.
        if self._taken >= self._places:
            self._turned_away.inc()
            raise PoolFullError
        self._take()
        loop = asyncio.get_running_loop()
        work = self._executor.submit(function)
        work.add_done_callback(lambda _: _tell(loop, self._give_back))
        done = asyncio.wrap_future(work, loop=loop)
        # Retrieved, so that an error after the time is over is nobody's surprise.
        done.add_done_callback(_retrieve)
        await asyncio.wait([done], timeout=self.seconds)
        if not done.done() and is_answering():
            await asyncio.wait([done])
        if not done.done():
            work.cancel()
            self._late.inc()
            raise TimeoutError
        return done.result()

    def _take(self) -> None:
        self._taken += 1
        self._requests.set(self._taken)

    def _give_back(self) -> None:
        self._taken -= 1
        self._requests.set(self._taken)


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    # Threads may outlive the loop while the process stops.
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)


def _retrieve(done: "asyncio.Future[T]") -> None:
    if not done.cancelled():
        done.exception()
