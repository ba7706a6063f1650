"""Pools of threads: each class of requests has its own, and none waits for another's."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

WAITING_PER_THREAD = 4  # requests that may wait for a thread; more are turned away


class PoolFullError(Exception):
    """So many requests wait for a thread already that this one had better come again."""


class RequestPool:
    """Threads for one class of requests, and a short queue before them."""

    def __init__(self, name: str, *, threads: int, seconds: float) -> None:
        self.seconds = seconds  # that a request may take, waiting included
        self._executor = ThreadPoolExecutor(threads, name)
        self._places = threads * (1 + WAITING_PER_THREAD)
        self._taken = 0

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
            raise PoolFullError
        self._taken += 1
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
            raise TimeoutError
        return done.result()

    def _give_back(self) -> None:
        self._taken -= 1


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    # Threads may outlive the loop while the process stops.
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)


def _retrieve(done: "asyncio.Future[T]") -> None:
    if not done.cancelled():
        done.exception()
