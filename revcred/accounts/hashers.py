"""Password hashing that leaves the machine to others: only so many hashes at once in a process.

Each takes half a second of a core, also for an address that nobody signs in with. Without a limit,
some clients that sign in all the time would keep calls waiting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher


class HashersBusy(Exception):
    """As many passwords as may be are being hashed in this process."""


class ConcurrencyLimitedHasher(PBKDF2PasswordHasher):
    """Django's hasher, which raises HashersBusy instead of using more than its share."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with _hashing_slot():
            return super().encode(password, salt, iterations)


@cache
def _hashing_slots() -> BoundedSemaphore:
    return BoundedSemaphore(settings.PASSWORD_HASHES_AT_ONCE)


@contextmanager
def _hashing_slot() -> Iterator[None]:
    # Nobody waits: waiting requests would take the threads that answer others.
    if not _hashing_slots().acquire(blocking=False):
        raise HashersBusy
    try:
        yield
    finally:
        _hashing_slots().release()
