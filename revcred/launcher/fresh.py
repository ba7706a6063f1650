"""Directories for stores that are not to last."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from revcred.launcher.errors import LaunchError
from revcred.launcher.lock import only_one
from revcred.launcher.places import TMP, socket_path

PREFIX = "revcred-fresh-"
LOCK = "lock"
YOUNG = 60.0  # seconds in which its maker may not have come to lock it


@contextmanager
def fresh_directory() -> Iterator[Path]:
    """Gone in the end; if its maker was killed, when the next one is made."""
    # Root's stores run as somebody else, for whom TMPDIR may be out of reach.
    parent = TMP if os.geteuid() == 0 else Path(tempfile.gettempdir())
    _sweep(parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as name:
        directory = Path(name).resolve()
        directory.chmod(0o711)
        with only_one(directory / LOCK):
            yield directory


def _sweep(parent: Path) -> None:
    for directory in parent.glob(f"{PREFIX}*"):
        if _is_abandoned(directory):
            for data in directory.iterdir():
                shutil.rmtree(socket_path(data), ignore_errors=True)
            # Valkey keeps no data, so no entry stands for it.
            shutil.rmtree(socket_path(directory / "valkey"), ignore_errors=True)
            shutil.rmtree(directory, ignore_errors=True)


def _is_abandoned(directory: Path) -> bool:
    try:
        found = (directory / LOCK).lstat()
        if found.st_uid != os.geteuid() or time.time() - found.st_mtime < YOUNG:
            return False
        with only_one(directory / LOCK):
            return True
    except (OSError, LaunchError):
        return False
