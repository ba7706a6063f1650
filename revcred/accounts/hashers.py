"""Password hashing that leaves the machine to others: only so many hashes at once in a process.

Each takes half a second of a core, also for an address that nobody signs in with. Without a limit,
some clients that sign in all the time would keep calls waiting. Hashing has threads of its own, to
which Linux gives less of the processor: they hold no lock of Python's while they compute.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher

# On top of the process's own niceness, of which 19 is the most: a third of what others get, who are
# as busy. More would keep people from signing in while the machine has much to do.
ADDED_NICENESS = 5


class HashersBusy(Exception):
    """As many passwords as may be are being hashed in this process."""


class ConcurrencyLimitedHasher(PBKDF2PasswordHasher):
    """Django's hasher, which raises HashersBusy instead of using more than its share."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with _hashing_slot():
            return _hashing_threads().submit(super().encode, password, salt, iterations).result()


@cache
def _hashing_slots() -> BoundedSemaphore:
    return BoundedSemaphore(settings.PASSWORD_HASHES_AT_ONCE)


@cache
def _hashing_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        settings.PASSWORD_HASHES_AT_ONCE, "hashing", initializer=_run_after_others
    )


def _run_after_others() -> None:
    """Raise the niceness of this thread alone, which Linux can and other systems cannot."""
    if sys.platform == "linux":
        niceness = os.getpriority(os.PRIO_PROCESS, 0) + ADDED_NICENESS
        os.setpriority(os.PRIO_PROCESS, 0, min(niceness, 19))


@contextmanager
def _hashing_slot() -> Iterator[None]:
    # Nobody waits: waiting requests would take the threads that answer others.
    if not _hashing_slots().acquire(blocking=False):
        raise HashersBusy
    try:
        yield
    finally:
        _hashing_slots().release()
