"""Temporary directories for stores of tests and benchmarks."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from revcred.launcher.errors import LaunchError
from revcred.launcher.lock import exclusive_lock
from revcred.launcher.paths import SOCKET_PARENT, socket_path

DIRECTORY_PREFIX = "revcred-fresh-"
LOCK_NAME = "lock"
LOCKING_GRACE_SECONDS = 60.0  # a new directory may not be locked yet


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Make a directory that is removed at the end.

    If this process is killed, the next call removes it.
    """
    # Root's stores run as somebody else, for whom TMPDIR may be out of reach.
    parent = SOCKET_PARENT if os.geteuid() == 0 else Path(tempfile.gettempdir())
    _remove_abandoned(parent)
    with tempfile.TemporaryDirectory(prefix=DIRECTORY_PREFIX, dir=parent) as name:
        directory = Path(name).resolve()
        directory.chmod(0o711)
        with exclusive_lock(directory / LOCK_NAME):
            yield directory


def _remove_abandoned(parent: Path) -> None:
    for directory in parent.glob(f"{DIRECTORY_PREFIX}*"):
        if _is_abandoned(directory):
            for data in directory.iterdir():
                shutil.rmtree(socket_path(data), ignore_errors=True)
            # Valkey keeps no data, so no entry stands for it.
            shutil.rmtree(socket_path(directory / "valkey"), ignore_errors=True)
            shutil.rmtree(directory, ignore_errors=True)


def _is_abandoned(directory: Path) -> bool:
    try:
        found = (directory / LOCK_NAME).lstat()
        # In /tmp there may be directories of other users, and new ones.
        if found.st_uid != os.geteuid() or time.time() - found.st_mtime < LOCKING_GRACE_SECONDS:
            return False
        with exclusive_lock(directory / LOCK_NAME):
            return True
    except (OSError, LaunchError):
        return False
