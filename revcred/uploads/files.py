"""Where an uploaded file lies until its upload ends. Web and worker have to see the same place.

Keys lie there in clear, so a file must not outlive its upload, nor the process that receives it.
Who writes a file holds a lock on it (`flock`), which ends with the process however that ends: a
file that no upload is waiting for and nobody has locked is abandoned.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from django.conf import settings
from django.core.files.uploadhandler import TemporaryFileUploadHandler

AT_ONCE = 1 << 20  # bytes
DRAFT = ".draft"
ABANDONED_SECONDS = 180.0  # without growing, for where locks are not seen by every machine


class TooLarge(Exception):
    """The file has more bytes than an upload may have."""


def place() -> Path:
    directory: Path = settings.UPLOADS_DIR
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def path_of(upload: int) -> Path:
    return place() / str(upload)


def refused_of(upload: int) -> Path:
    """The rows that were refused, kept apart when the file goes."""
    return place() / f"{upload}.refused"


@contextmanager
def private(path: Path) -> Iterator[BinaryIO]:
    """To write what only we can read. In place, and on disk, once it is whole."""
    draft = path.with_name(f"{path.name}{DRAFT}")
    draft.unlink(missing_ok=True)
    try:
        with _created(draft) as file:
            yield file
            _sync(file)
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def taken(file: BinaryIO, *, most: int) -> Iterator[tuple[Path, int, str]]:
    """Copy a file to where only we can read it: where, how many bytes, their SHA-256.

    It is deleted at the end of the block unless it was renamed by then, and locked until then.
    Raises TooLarge.
    """
    partial = place() / uuid4().hex
    size, digest = 0, sha256()
    try:
        with _created(partial) as copy:
            while data := file.read(AT_ONCE):
                size += len(data)
                if size > most:
                    raise TooLarge
                digest.update(data)
                copy.write(data)
            _sync(copy)
            yield partial, size, digest.hexdigest()
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _created(path: Path) -> Iterator[BinaryIO]:
    """A new file, locked. Until it is, it may be taken for an abandoned one, and made again."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(number).st_nlink:
                yield file
                return


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def forget(upload: int) -> None:
    path_of(upload).unlink(missing_ok=True)
    refused_of(upload).unlink(missing_ok=True)


def stored() -> Iterator[tuple[Path, int | None]]:
    """Return every file there, and of which upload it is: None of one that none waits for."""
    for each in place().iterdir():
        number = each.name.removesuffix(".refused")
        yield each, int(number) if number.isdecimal() else None


def age_of(path: Path) -> float:
    """Return how many seconds ago it was written to, or 0 if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove_if_abandoned(path: Path, is_over: Callable[[], bool]) -> bool:
    """Delete a file that nobody has locked, if that is so. Asked under the lock: `is_over`.

    Who receives a file unlocks it after the upload is committed, so by then that can be seen.
    """
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_over():
                return False
            path.unlink(missing_ok=True)
    except (FileNotFoundError, IsADirectoryError, BlockingIOError):
        return False
    return True


class LockedUploadHandler(TemporaryFileUploadHandler):
    """Django's file of what is still arriving, locked as our own are (see FILE_UPLOAD_HANDLERS)."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        fcntl.flock(self.file.fileno(), fcntl.LOCK_EX)
