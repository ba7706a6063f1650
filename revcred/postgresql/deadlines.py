"""Deadlines for waiting for the database, and a circuit breaker for when it does not answer.

A frozen server neither closes connections nor answers a cancel request. Its own timeouts do not
help then, nor do those of TCP, so the client has to stop waiting.
"""

import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import POLLIN, poll
from typing import Any

import psycopg
from psycopg.errors import OperationalError, _WaitTimeout
from psycopg.pq import TransactionStatus

OPEN_BREAKER_WAIT_SECONDS = 0.2
# A plan that was made while a table was small may read all of it once it is large.
MAX_PLAN_AGE_SECONDS = 10.0

# How a file descriptor is made a socket again. What kind it is does not matter to ending it.
_ANY_STREAM = (socket.AF_INET, socket.SOCK_STREAM)

_connections_waiting: "set[DeadlineConnection]" = set()
_thread_state = threading.local()  # its `deadline`, on the monotonic clock


class _CircuitBreaker:
    """The circuit breaker of this process: open from a missed deadline until the next answer."""

    is_open = False


@contextmanager
def database_deadline(seconds: float) -> Iterator[None]:
    """Limit the time that this thread waits for the database inside the block.

    After the deadline, statements raise django.db.OperationalError; what the server was doing may
    still be done. A deadline inside another one can only be earlier.

    While the circuit breaker is open, nobody waits longer than OPEN_BREAKER_WAIT_SECONDS:
    otherwise all threads would soon be waiting, and new requests would wait for a thread.
    """
    before = getattr(_thread_state, "deadline", None)
    deadline = time.monotonic() + (
        min(seconds, OPEN_BREAKER_WAIT_SECONDS) if _CircuitBreaker.is_open else seconds
    )
    # An inner block cannot extend the time of the outer one.
    _thread_state.deadline = deadline if before is None else min(before, deadline)
    try:
        yield
    finally:
        _thread_state.deadline = before


def database_time_left(at_most: float) -> float:
    """Return the seconds until this thread's deadline, but not more than `at_most`."""
    deadline = getattr(_thread_state, "deadline", None)
    return at_most if deadline is None else max(0.0, min(at_most, deadline - time.monotonic()))


def abandon_waiting() -> None:
    """Let all threads go that wait for an answer with a deadline: their statements fail at once.

    For when it is known that the database does not answer anybody. Threads without a deadline go on
    waiting.
    """
    for waiting in list(_connections_waiting):
        # The descriptor may have been closed meanwhile, by the thread that waits.
        with (
            suppress(OSError, psycopg.Error),
            socket.fromfd(waiting.fileno(), *_ANY_STREAM) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that is closed when the thread's deadline passes."""

    _plans_kept_since = 0.0  # on the monotonic clock

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Any:
        """Yield the steps of connecting, and stop at the deadline.

        psycopg asks for the next step several times a second, also if nothing arrives.
        """
        steps: Any = super()._connect_gen(conninfo)
        ready = None
        try:
            while True:
                step = steps.send(ready)
                if database_time_left(math.inf) <= 0:
                    _CircuitBreaker.is_open = True
                    message = "The database did not accept a connection in time."
                    raise _WaitTimeout(message)
                ready = yield step
        except StopIteration as connected:
            return connected.value

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        deadline = getattr(_thread_state, "deadline", None)
        if deadline is not None:
            kwargs["timeout"] = max(0.0, deadline - time.monotonic())
            _connections_waiting.add(self)
        try:
            answer = super().wait(gen, *args, **kwargs)
        except _WaitTimeout as error:
            _CircuitBreaker.is_open = True
            # An answer that comes later would be taken for that of the next statement.
            self.close()
            message = "The database did not answer in time."
            raise OperationalError(message) from error
        finally:
            _connections_waiting.discard(self)
        _CircuitBreaker.is_open = False
        return answer

    def has_old_plans(self) -> bool:
        """Return True if plans may be older than MAX_PLAN_AGE_SECONDS, once in that time."""
        now = time.monotonic()
        if now - self._plans_kept_since < MAX_PLAN_AGE_SECONDS:
            return False
        self._plans_kept_since = now
        return True

    def is_healthy(self) -> bool:
        """Return False if the connection is closed, or broken in a transaction, or going to be.

        Between statements a server sends something only if it ends the connection.
        """
        if self.closed or self.info.transaction_status is TransactionStatus.INERROR:
            return False
        incoming = poll()
        incoming.register(self.fileno(), POLLIN)
        return not incoming.poll(0)
