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

COPY_CHUNK_BYTES = 1 << 20  # bytes
DRAFT_SUFFIX = ".draft"
ABANDONED_SECONDS = 180.0  # without growing, for where locks are not seen by every machine


class FileTooLarge(Exception):
    """The file has more bytes than an upload may have."""


def uploads_directory() -> Path:
    directory: Path = settings.UPLOADS_DIR
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def list_file_path(upload: int) -> Path:
    return uploads_directory() / str(upload)


def rejected_file_path(upload: int) -> Path:
    """The rows that were refused, kept apart when the file goes."""
    return uploads_directory() / f"{upload}.refused"


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """To write what only we can read. In place, and on disk, once it is whole."""
    draft = path.with_name(f"{path.name}{DRAFT_SUFFIX}")
    draft.unlink(missing_ok=True)
    try:
        with _locked_new_file(draft) as file:
            yield file
            _sync_to_disk(file)
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def received_file(file: BinaryIO, *, most: int) -> Iterator[tuple[Path, int, str]]:
    """Copy a file to where only we can read it: where, how many bytes, their SHA-256.

    It is deleted at the end of the block unless it was renamed by then, and locked until then.
    Raises FileTooLarge.
    """
    partial = uploads_directory() / uuid4().hex
    size, digest = 0, sha256()
    try:
        with _locked_new_file(partial) as copy:
            while data := file.read(COPY_CHUNK_BYTES):
                size += len(data)
                if size > most:
                    raise FileTooLarge
                digest.update(data)
                copy.write(data)
            _sync_to_disk(copy)
            yield partial, size, digest.hexdigest()
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _locked_new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, locked. Until it is, it may be taken for an abandoned one, and made again."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(number).st_nlink:
                yield file
                return


def _sync_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def delete_upload_files(upload: int) -> None:
    list_file_path(upload).unlink(missing_ok=True)
    rejected_file_path(upload).unlink(missing_ok=True)


def stored_files() -> Iterator[tuple[Path, int | None]]:
    """Return every file there, and of which upload it is: None of one that none waits for."""
    for each in uploads_directory().iterdir():
        number = each.name.removesuffix(".refused")
        yield each, int(number) if number.isdecimal() else None


def seconds_since_written(path: Path) -> float:
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
