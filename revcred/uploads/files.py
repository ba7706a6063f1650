"""Where an uploaded file lies until its upload ends. Web and worker have to see the same place."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from django.conf import settings

AT_ONCE = 1 << 20  # bytes
DRAFT = ".draft"
ORPHANED = 3_600.0  # seconds after which what belongs to no upload is deleted


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
        with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def take(file: BinaryIO, *, most: int) -> tuple[Path, int, str]:
    """A copy that only we can read: where, how many bytes, their SHA-256. Raises TooLarge."""
    partial = place() / uuid4().hex
    size, digest = 0, sha256()
    with private(partial) as copy:
        while data := file.read(AT_ONCE):
            size += len(data)
            if size > most:
                raise TooLarge
            digest.update(data)
            copy.write(data)
    return partial, size, digest.hexdigest()


def forget(upload: int) -> None:
    path_of(upload).unlink(missing_ok=True)
    refused_of(upload).unlink(missing_ok=True)


def kept() -> Iterator[tuple[Path, int | None, float]]:
    """Every file there: where, of which upload, its age in seconds."""
    now = time.time()
    for each in place().iterdir():
        number = each.name.removesuffix(".refused")
        yield each, int(number) if number.isdecimal() else None, now - each.stat().st_mtime
