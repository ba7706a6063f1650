"""A lock that keeps a second launcher out."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from revcred.launcher.errors import LaunchError


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock on the file. Raises LaunchError if another process holds it.

    The kernel releases it when the process ends: nothing to clean up after a kill -9.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"revcred is running already from {path.parent.parent}. Stop it first."
            raise LaunchError(message) from None
        yield
