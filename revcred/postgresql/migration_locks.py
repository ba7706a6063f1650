"""Time limits of migrations: a statement may take long, but nobody waits long behind its lock."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

# Whoever wants a table waits behind a migration that waits for its lock: as long as a POST does.
LOCK_TIMEOUT_SECONDS = 1
RETRY_PAUSE_SECONDS = 2.0  # in which those who had to wait go on
MAX_WAIT_SECONDS = 900.0


class LockNotObtainedError(Exception):
    """A lock that a migration needs was held by others all the time, as a sentence for admins."""


@contextmanager
def migration_timeouts() -> Iterator[None]:
    """Lift the time limit of statements inside the block, and lower that of locks."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = 0; SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    try:
        yield
    finally:
        # After a lost connection there is nothing to take back.
        if connection.connection is not None and not connection.needs_rollback:
            with connection.cursor() as cursor:
                cursor.execute("RESET statement_timeout; RESET lock_timeout")


def retry_until_locked(
    migrate: Callable[[], None],
    report: Callable[[str], object],
    *,
    max_wait_seconds: float = MAX_WAIT_SECONDS,
    pause_seconds: float = RETRY_PAUSE_SECONDS,
) -> None:
    """Call `migrate`, again and again if it had to wait for a lock; `report` is told which.

    What it had finished before stays finished, and is skipped the next time.

    Raises:
        LockNotObtainedError: others held the lock all the time.
    """
    deadline = time.monotonic() + max_wait_seconds
    while True:
        waited = _WaitingStatement()
        try:
            with connection.execute_wrapper(waited):
                migrate()
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            message = f"Others held a lock that this needs: {waited.statement}"
            if time.monotonic() > deadline:
                raise LockNotObtainedError(message) from error
            report(f"{message}. Trying again.")
            time.sleep(pause_seconds)
        else:
            return


class _WaitingStatement:
    """Remembers the statement that failed, for Django's errors do not name it."""

    statement = ""

    def __call__(self, execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        try:
            return execute(sql, *arguments)
        except OperationalError:
            self.statement = " ".join(str(sql).split())[:200]
            raise
