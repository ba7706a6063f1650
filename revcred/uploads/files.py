"""Files of uploads, kept in a directory that web and worker share until the upload ends.

They hold keys in clear, so a file must not outlive its upload, nor the process that receives it.
A process that writes a file holds a lock on it (`flock`), which ends with the process, whatever
kills it. A file that no upload needs and nobody has locked is abandoned.
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

COPY_CHUNK_BYTES = 1 << 20
DRAFT_SUFFIX = ".draft"
# On some network file systems one machine does not see the locks of another. So the clock deletes
# only files that have not grown for that long.
ABANDONED_SECONDS = 180.0


class FileTooLarge(Exception):
    """The file has more bytes than an upload may have."""


def uploads_directory() -> Path:
    directory: Path = settings.UPLOADS_DIR
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def list_file_path(upload: int) -> Path:
    return uploads_directory() / str(upload)


def rejected_file_path(upload: int) -> Path:
    """Return the path of the rejected rows, which are kept when the upload's file is deleted."""
    return uploads_directory() / f"{upload}.rejected"


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that only this user can read. It appears at `path` once it is complete."""
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
def received_file(
    file: BinaryIO, *, most: int, check_space: Callable[[int], None]
) -> Iterator[tuple[Path, int, str]]:
    """Copy a file to one that only this user can read; give its path, bytes and SHA-256.

    The copy is locked until the end of the block, and then deleted unless it has been renamed.
    `check_space` is called before so many more bytes are written. Raises FileTooLarge, and what
    `check_space` raises.
    """
    partial = uploads_directory() / uuid4().hex
    size, digest = 0, sha256()
    try:
        with _locked_new_file(partial) as copy:
            while data := file.read(COPY_CHUNK_BYTES):
                size += len(data)
                if size > most:
                    raise FileTooLarge
                check_space(len(data))
                digest.update(data)
                copy.write(data)
            _sync_to_disk(copy)
            yield partial, size, digest.hexdigest()
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _locked_new_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file and lock it.

    Between these two steps housekeeping may take it for abandoned and delete it. A locked file
    without a link has been deleted, so another one is created.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                yield file
                return


def _sync_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def stored_files() -> Iterator[tuple[Path, int | None]]:
    """Yield each file with the number of its upload; None for one that is still being received."""
    for path in uploads_directory().iterdir():
        number = path.name.removesuffix(".rejected")
        yield path, int(number) if number.isdecimal() else None


def seconds_since_written(path: Path) -> float:
    """Return the seconds since the file was last written to; 0 if it does not exist."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove_if_abandoned(path: Path, is_unneeded: Callable[[], bool]) -> bool:
    """Delete the file if nobody has locked it and no upload needs it. Return True if it did.

    `is_unneeded` is called under the lock: a file is unlocked after its upload is committed, so
    the upload can be seen by then.
    """
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_unneeded():
                return False
            path.unlink(missing_ok=True)
    except (FileNotFoundError, IsADirectoryError, BlockingIOError):
        return False
    return True


class LockedUploadHandler(TemporaryFileUploadHandler):
    """Django's handler for arriving files, with the same lock (see FILE_UPLOAD_HANDLERS)."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        fcntl.flock(self.file.fileno(), fcntl.LOCK_EX)
