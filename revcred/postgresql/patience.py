"""How long to wait for the database. What is frozen closes no connection and answers no cancel.

The server's own limits do not help then, and neither do TCP's: somebody has to stop waiting.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from select import POLLIN, poll
from typing import Any

import psycopg
from psycopg.errors import OperationalError, _WaitTimeout
from psycopg.pq import TransactionStatus

OPEN_BREAKER_WAIT_SECONDS = 0.2  # seconds

_thread_state = threading.local()


class _CircuitBreaker:
    """Whether who waited for the database last, in this process, waited in vain."""

    in_vain = False


@contextmanager
def database_deadline(seconds: float) -> Iterator[None]:
    """In this thread, give up waiting for the database after that long at most.

    Inside it raises django.db.OperationalError then; what was under way may yet be done. Once
    somebody has waited in vain, nobody waits long until the database has answered again: or else
    those who come next would wait for a thread, too.
    """
    before = getattr(_thread_state, "deadline", None)
    deadline = time.monotonic() + (
        min(seconds, OPEN_BREAKER_WAIT_SECONDS) if _CircuitBreaker.in_vain else seconds
    )
    _thread_state.deadline = deadline if before is None else min(before, deadline)
    try:
        yield
    finally:
        _thread_state.deadline = before


def database_time_left(at_most: float) -> float:
    """How many more seconds this thread may wait."""
    deadline = getattr(_thread_state, "deadline", None)
    return at_most if deadline is None else max(0.0, min(at_most, deadline - time.monotonic()))


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that is closed when the thread's patience ends."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Any:
        """The steps of connecting; psycopg asks for the next one several times a second."""
        steps: Any = super()._connect_gen(conninfo)
        ready = None
        try:
            while True:
                step = steps.send(ready)
                if database_time_left(math.inf) <= 0:
                    _CircuitBreaker.in_vain = True
                    message = "The database did not let us in in time."
                    raise _WaitTimeout(message)
                ready = yield step
        except StopIteration as connected:
            return connected.value

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        deadline = getattr(_thread_state, "deadline", None)
        if deadline is not None:
            kwargs["timeout"] = max(0.0, deadline - time.monotonic())
        try:
            answer = super().wait(gen, *args, **kwargs)
        except _WaitTimeout as error:
            _CircuitBreaker.in_vain = True
            self.close()
            message = "The database did not answer in time."
            raise OperationalError(message) from error
        _CircuitBreaker.in_vain = False
        return answer

    def is_sound(self) -> bool:
        """Whether the server said nothing unasked, which could only be a farewell."""
        if self.closed or self.info.transaction_status is TransactionStatus.INERROR:
            return False
        farewell = poll()
        farewell.register(self.fileno(), POLLIN)
        return not farewell.poll(0)
