import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from revcred.launcher.errors import LaunchError


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Held by the kernel for as long as we live: nothing to clean up after a kill -9."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"revcred is running already from {path.parent.parent}. Stop it first."
            raise LaunchError(message) from None
        yield
