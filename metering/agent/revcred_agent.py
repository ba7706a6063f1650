#!/usr/bin/env python3
"""Send a gateway's log to revcred, so that each line is counted exactly once.

One file, Python 3.9 or newer, nothing to install beside it.

  follow GLOB…   send what is written, live; also what was written while this did not run
  import FILE…   send files that are complete, such as yesterday's; also compressed ones
  listen         take what a gateway posts, keep it on this disk, pass it on until it is taken
  try FILE       show what would be sent of the first lines; sends nothing
  status         how far it is, what waits, what was rejected
  keys SOURCE    send the list of keys that a gateway lets in, for the comparison with revcred's
  sync TARGET    let a gateway know the digests of valid keys; shows a plan unless told to apply it

The log on disk is the queue: a position moves on only after revcred has answered 202. What is sent
twice is counted once, since each line carries the digest of its file's beginning and its offset.
"""

from __future__ import annotations

import argparse
import base64
import csv
import email.utils
import fcntl
import glob
import gzip
import hashlib
import http.client
import json
import logging
import os
import random
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from abc import ABC, abstractmethod
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Callable,
    NamedTuple,
    Union,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

VERSION = "1.0"
LINES_ADDRESS = "/v1/lines"
TRY_LINES = 20

# What revcred takes in one post, with some room.
MAX_LINES_PER_POST = 1_000
MAX_BYTES_PER_POST = 900_000  # before compression
MIN_BYTES_PER_POST = 10_000  # however small a proxy's limit may be
POSTS_AT_ONCE = 4

MAX_LINE_BYTES = 256 * 1024  # a longer line is parked
READ_BYTES = 256 * 1024
COMPRESSED_READ_BYTES = 16 * 1024  # inflates to 16 MB at most
HEAD_BYTES = 64 * 1024  # in which the first line is looked for
# A file is compared with what was read of it by digests of this many of its first bytes.
PREFIX_BYTES = (128, 256, 512, 1024, 2048, 4096)
MAX_PREFIXES = 20
MAX_STAMPS = 4  # of compressed copies of one log
FINISHED_SECONDS = 60.0  # after which a file that is imported has no more coming

POLL_SECONDS = 0.25
POST_TIMEOUT_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 15.0
MAX_RETRY_AFTER_SECONDS = 300.0
SAME_WARNING_SECONDS = 60.0
LAG_WARNING_SECONDS = 300.0
# A renamed file is kept open for a while: a gateway's old processes may still write to it.
RENAMED_FILE_SECONDS = 600.0
MAX_OPEN_FILES = 200

MAX_PARKED_BYTES = 1_000_000  # of notes; as much again is kept in the file before
MAX_POSITIONS = 20_000
FORGET_POSITION_SECONDS = 400 * 24 * 3600.0

SEGMENT_BYTES = 8_000_000
DEFAULT_SPOOL_MEGABYTES = 1_024
MAX_RECEIVED_BYTES = 16_000_000
SYSTEMD_FIRST_SOCKET = 3

INVENTORY_ADDRESS = "/v1/keys/inventory"
MAX_KEYS_PER_PAGE = 1_000
MAX_KEY_CHARACTERS_PER_PAGE = 600_000
ADMIN_TIMEOUT_SECONDS = 30.0
MAX_ADMIN_ANSWER_BYTES = 200_000_000

SNAPSHOT_ADDRESS = "/v1/keys"
SNAPSHOT_STATUSES = {200, 400, 404, 409}
# HAProxy takes as much in one command line as its tune.bufsize, less its own part.
MAX_HAPROXY_COMMAND_BYTES = 12_000
DEFAULT_MOST_PERCENT = 10.0
FEW_ENTRIES = 5  # are never too many to take away
COMPLETE_READ_SECONDS = 3600.0

logger = logging.getLogger("revcred-agent")


class AgentError(Exception):
    """The agent cannot work like this. The message is for its operator."""


class Stopped(Exception):
    """The agent was told to stop while it waited."""


class Warnings:
    """Warnings on standard error, each kind at most once a minute."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def warn(self, kind: str, text: str) -> None:
        now = time.monotonic()
        if now - self._last.get(kind, -SAME_WARNING_SECONDS) >= SAME_WARNING_SECONDS:
            self._last[kind] = now
            logger.warning("%s", text)


# --- Files as they are read -----------------------------------------------------------------------


class PlainReader:
    """Reads a file by offsets."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.is_complete = False  # more may be written at any time

    def head(self) -> bytes:
        """Return what the content begins with, behind any zero bytes."""
        descriptor, start = self._file.fileno(), 0
        with suppress(OSError, AttributeError):  # an empty file, a system without holes
            start = os.lseek(descriptor, 0, os.SEEK_DATA)
        return _head(self.read, start)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)

    def progress(self, position: int) -> int:
        """Return how many bytes on disk the content before a position takes."""
        return position


class GzipReader:
    """Reads what gzip has written by offsets of the content, also of a file that is cut or grows.

    It goes forward. What lies before the last offset is inflated from the start again.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.is_damaged = False
        self._rewind()

    def _rewind(self) -> None:
        self._inflater: Any | None = None  # of the member that is being read
        self._pending = b""  # compressed, the beginning of the next member
        self._compressed_offset = 0
        self._buffer = b""
        self._buffer_offset = 0
        self._ended = False  # with the last member

    @property
    def is_complete(self) -> bool:
        """True once the file was read to the end of a member, after which nothing comes."""
        return self._ended and not self.is_damaged

    def head(self) -> bytes:
        """Return what the content begins with, behind any zero bytes."""
        return _head(GzipReader(self._file).read, 0)

    def read(self, offset: int, size: int) -> bytes:
        if offset < self._buffer_offset:
            self._rewind()
        while True:
            unused = min(offset - self._buffer_offset, len(self._buffer))
            self._buffer = self._buffer[unused:]
            self._buffer_offset += unused
            if self._buffer_offset == offset and len(self._buffer) >= size:
                break
            if not self._inflate():
                break
        return self._buffer[:size] if self._buffer_offset == offset else b""

    def progress(self, position: int) -> int:
        return self._compressed_offset

    def _inflate(self) -> bool:
        """Add to the buffer. Return False at the end of what can be read now."""
        data, self._pending = self._pending, b""
        while not data:
            data = os.pread(self._file.fileno(), COMPRESSED_READ_BYTES, self._compressed_offset)
            self._compressed_offset += len(data)
            if not data:
                self._ended = self._inflater is None
                return False
            if self._inflater is None:
                data = data.lstrip(b"\0")  # tapes and disks fill up their blocks
        if self._inflater is None:
            self._inflater = zlib.decompressobj(wbits=31)
        try:
            self._buffer += self._inflater.decompress(data)
        except zlib.error:
            self.is_damaged = True
            return False
        self._pending = self._inflater.unused_data.lstrip(b"\0")
        if self._inflater.eof:
            self._inflater = None
        return True


def _head(read: Callable[[int, int], bytes], start: int) -> bytes:
    """Return the first bytes that are not zero.

    Zeros stand at the start of a file that was emptied while its writer went on at its old place.
    """
    while data := read(start, READ_BYTES):
        zeros = _leading_zeros(data)
        start += zeros
        if zeros < len(data):
            break
    return read(start, HEAD_BYTES)


def _leading_zeros(data: bytes) -> int:
    return len(data) - len(data.lstrip(b"\0"))


Reader = Union[PlainReader, GzipReader]
Inode = tuple[int, int]  # device, number
GZIP_START = b"\x1f\x8b"
# Others' compressed files are not guessed at: their bytes would be sent as lines.
UNREADABLE_STARTS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\3\4": "zip",
}


def reader_of(file: BinaryIO) -> Reader:
    """Return the reader for a file by its first bytes. Raises AgentError."""
    start = os.pread(file.fileno(), 8, 0)
    for beginning, name in UNREADABLE_STARTS.items():
        if start.startswith(beginning):
            message = f"{file.name} is compressed with {name}. Only gzip can be read: unpack it."
            raise AgentError(message)
    return GzipReader(file) if start.startswith(GZIP_START) else PlainReader(file)


def first_line(head: bytes) -> bytes | None:
    """Return the first line with data of a file's beginning, or None if it is not whole yet.

    Comments, as W3C and CloudFront write them, are none.
    """
    lines = head.split(b"\n")
    for line in lines[:-1]:
        data = line.strip(b"\0\r")
        if data and not data.startswith(b"#"):
            return data
    rest = lines[-1]
    is_cut = len(head) >= HEAD_BYTES
    return rest if is_cut and rest and not rest.startswith(b"#") else None


# --- What was read, and how far -------------------------------------------------------------------


@dataclass
class Log:
    """The content of a log file, under whatever names it lies on the disk.

    `name` is made of the host and the first line, so that a file that was renamed, compressed,
    copied or moved is known again.
    """

    name: str
    position: int = 0  # all before it was taken
    prefixes: dict[str, str] = field(default_factory=dict)  # digests, by number of bytes
    path: str = ""  # where it was seen last
    read_through: list[list[int]] = field(default_factory=list)  # size, time of compressed files
    taken_at: float = 0.0
    read_position: int = 0  # all before it was read, and is being sent

    def note_beginning(self, head: bytes) -> None:
        """Remember what the content begins with, as far as it is there."""
        if self._longest < min(len(head), PREFIX_BYTES[-1]):
            sizes = [size for size in PREFIX_BYTES if size <= len(head)]
            if len(head) <= PREFIX_BYTES[-1] and len(self.prefixes) < MAX_PREFIXES:
                sizes.append(len(head))
            self.prefixes.update({str(size): _digest(head[:size]) for size in sizes})

    @property
    def _longest(self) -> int:
        return max(map(int, self.prefixes), default=0)

    def is_whole_beginning(self, head: bytes) -> bool:
        """Return True for content that has all that is known of this log."""
        return len(head) >= self._longest and self.begins_like(head)

    def begins_like(self, head: bytes) -> bool:
        """Return False for content that differs from what is known of this log."""
        return all(
            digest == _digest(head[: int(size)])
            for size, digest in self.prefixes.items()
            if int(size) <= len(head)
        )

    def stored(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "position": self.position,
            "prefixes": self.prefixes,
            "path": self.path,
            "read_through": self.read_through,
            "taken_at": self.taken_at,
        }

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> Log:
        log = cls(**{name: stored[name] for name in cls("").stored()})
        log.read_position = log.position
        return log


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def log_name(host: str, line: bytes, number: int) -> str:
    """Return the name of the log that begins with a line; `number` tells equal beginnings apart."""
    more = f"\0{number}".encode() if number else b""
    return _digest(host.encode() + b"\0" + line + more)


def write_safely(path: Path, text: str, mode: int | None = None) -> None:
    """Replace a file, so that after a power cut either the old or the new content is there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with open(draft, "w", encoding="utf-8") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class State:
    """A directory with the positions, and notes of the lines that were parked.

    No line is ever written there, and no token.
    """

    def __init__(self, directory: Path, host: str = "") -> None:
        self.directory = directory
        self.positions = directory / "positions"
        self.parked = directory / "parked.ndjson"
        self._parking = threading.Lock()
        try:
            self.positions.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.host = self._remembered_host(host)
        except OSError as error:
            message = f"{directory} cannot be written: {error.strerror}. Name another with --state."
            raise AgentError(message) from error

    def _remembered_host(self, host: str) -> str:
        """Return the host that files are known by. A container's changes with each start."""
        path = self.directory / "host"
        if host:
            write_safely(path, host)
        elif not path.exists():
            write_safely(path, socket.gethostname())
        return path.read_text(encoding="utf-8").strip()

    @contextmanager
    def locked(self, purpose: str) -> Iterator[None]:
        """Be the only agent of that purpose with this state. Raises AgentError."""
        with open(self.directory / f"{purpose}.lock", "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                message = f"Another agent runs “{purpose}” with {self.directory}."
                raise AgentError(message) from None
            yield

    def is_running(self, purpose: str) -> bool:
        try:
            with self.locked(purpose):
                return False
        except AgentError:
            return True

    def load(self) -> dict[str, Log]:
        """Return all logs by name. A file that cannot be read is passed over."""
        logs: dict[str, Log] = {}
        for path in self.positions.glob("*.json"):
            try:
                log = Log.from_stored(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError):
                logger.warning("%s cannot be read. Its log is sent again.", path)
                continue
            logs[log.name] = log
        return logs

    def save(self, log: Log) -> None:
        write_safely(self.positions / f"{log.name}.json", json.dumps(log.stored()))

    def forget_oldest(self, logs: dict[str, Log]) -> None:
        """Forget logs that have not grown for long, so that the directory stays small."""
        by_age = sorted(logs.values(), key=lambda log: log.taken_at)
        too_many = len(logs) - MAX_POSITIONS
        before = time.time() - FORGET_POSITION_SECONDS
        for number, log in enumerate(by_age):
            if number < too_many or log.taken_at < before:
                del logs[log.name]
                (self.positions / f"{log.name}.json").unlink(missing_ok=True)

    def park(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Keep notes of lines that revcred rejects: where each stands and why, never its text."""
        if not notes:
            return
        with self._parking:
            if self.parked.exists() and self.parked.stat().st_size > MAX_PARKED_BYTES:
                os.replace(self.parked, self.parked.with_suffix(".1.ndjson"))
            with open(self.parked, "a", encoding="utf-8") as file:
                os.chmod(self.parked, 0o600)
                file.writelines(json.dumps(note, ensure_ascii=False) + "\n" for note in notes)
                file.flush()
                os.fsync(file.fileno())

    def note_caught_up(self) -> None:
        """Remember that nothing waits now, for `status`."""
        with suppress(OSError):
            (self.directory / "caught-up").touch()

    def caught_up_at(self) -> float:
        """Return when nothing waited last, or when the agent began."""
        for name in ("caught-up", "host"):
            with suppress(OSError):
                return (self.directory / name).stat().st_mtime
        return time.time()

    def parked_notes(self) -> list[dict[str, Any]]:
        notes: list[dict[str, Any]] = []
        for path in (self.parked.with_suffix(".1.ndjson"), self.parked):
            if path.exists():
                for line in path.read_text(encoding="utf-8").splitlines():
                    try:
                        notes.append(json.loads(line))
                    except ValueError:
                        continue  # cut by a power failure
        return notes


# --- Files on the disk ----------------------------------------------------------------------------


class Line(NamedTuple):
    """A line on its way, already as it is posted."""

    log: Log
    offset: int
    posted: bytes


@dataclass
class Parcel:
    """Lines that are posted together, and how far their logs are read once they are taken."""

    lines: list[Line] = field(default_factory=list)
    ends: dict[str, tuple[Log, int]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)  # of lines that cannot be sent
    size: int = 0  # bytes

    def is_full(self, max_bytes: int) -> bool:
        return len(self.lines) >= MAX_LINES_PER_POST or self.size >= max_bytes


_quoted = json.JSONEncoder(ensure_ascii=False).encode


@dataclass
class LogFile:
    """A file that is open, and the log that is its content."""

    path: str
    file: BinaryIO
    reader: Reader
    log: Log
    stat: os.stat_result
    renamed_at: float | None = None  # when no path led to it any more

    @property
    def is_compressed(self) -> bool:
        return isinstance(self.reader, GzipReader)

    @property
    def inode(self) -> Inode:
        return (self.stat.st_dev, self.stat.st_ino)

    @property
    def stamp(self) -> list[int]:
        return [self.stat.st_size, self.stat.st_mtime_ns]

    @property
    def unread_bytes(self) -> int:
        """Bytes that were not read yet; of a compressed file all, until it was read through."""
        if isinstance(self.reader, GzipReader):
            is_read = self.stamp in self.log.read_through or self.reader.is_damaged
            return 0 if is_read else self.stat.st_size
        return max(0, self.stat.st_size - self.log.read_position)

    def fill(self, parcel: Parcel, max_bytes: int) -> None:
        """Add the next lines to a parcel until it is full, or nothing is left to read."""
        while not parcel.is_full(max_bytes):
            start = self.log.read_position
            data = self.reader.read(start, READ_BYTES)
            zeros = _leading_zeros(data)
            if zeros:
                self.log.read_position += zeros
                continue
            whole = data.rfind(b"\n") + 1
            if not whole and len(data) >= MAX_LINE_BYTES:
                if self._pass_over_long_line(parcel, start):
                    continue
                return
            if not whole and self.reader.is_complete:
                whole = len(data)  # the last line of a file that is finished
            if not whole:
                self._note_end(parcel, data)
                return
            self._add(parcel, data[:whole], max_bytes)

    def _add(self, parcel: Parcel, data: bytes, max_bytes: int) -> None:
        log, offset = self.log, self.log.read_position
        beginning = f'{{"file":"{log.name}","at":'
        # A return alone ends no line.
        for raw in data.splitlines(keepends=True) if b"\r" not in data else _split(data):
            if parcel.is_full(max_bytes):
                break
            text = raw.strip(b"\0\r\n")
            if text and not text.startswith(b"#"):
                quoted = _quoted(text.decode("utf-8", "replace"))
                posted = f'{beginning}{offset},"line":{quoted}}}\n'.encode()
                parcel.lines.append(Line(log, offset, posted))
                parcel.size += len(posted)
            offset += len(raw)
        log.read_position = offset
        parcel.ends[log.name] = (log, offset)

    def _pass_over_long_line(self, parcel: Parcel, start: int) -> bool:
        """Park a line that is too long. Return False while its end is not there."""
        offset = start
        while data := self.reader.read(offset, READ_BYTES):
            end = data.find(b"\n") + 1
            if end or (self.reader.is_complete and len(data) < READ_BYTES):
                self.log.read_position = offset + (end or len(data))
                parcel.ends[self.log.name] = (self.log, self.log.read_position)
                message = f"The line has more than {MAX_LINE_BYTES:,} bytes."
                reason = {"code": "too_long", "message": message}
                parcel.notes.append(parked_note(self.log, start, reason))
                return True
            offset += len(data)
        return False

    def _note_end(self, parcel: Parcel, rest: bytes) -> None:
        """Remember that a compressed file was read through: it is not inflated again."""
        if self.is_compressed and self.reader.is_complete and not rest:
            self.log.read_through = [*self.log.read_through, self.stamp][-MAX_STAMPS:]
            parcel.ends[self.log.name] = (self.log, self.log.read_position)


def _split(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def parked_note(log: Log, offset: int, reason: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: reason[name] for name in ("code", "field", "message") if reason.get(name)}
    return {"at": time.time(), "path": log.path, "file": log.name, "offset": offset, **named}


class Tracker:
    """Files that patterns lead to: opened, known again under other names, read oldest first.

    With `are_finished`, a last line without an end is whole, if nothing was written for a minute.
    With `again`, everything is read from the start, whatever was taken before.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        state: State,
        warnings: Warnings,
        *,
        are_finished: bool = False,
        again: bool = False,
    ) -> None:
        self._patterns = patterns
        self._state = state
        self._warnings = warnings
        self._are_finished = are_finished
        self._files: dict[Inode, LogFile] = {}
        self._read: dict[Inode, list[int]] = {}  # stamps of files that were read and closed
        self._uncommitted: dict[str, Log] = {}  # that could not be written
        self._logs = state.load()
        state.forget_oldest(self._logs)
        if again:
            for log in self._logs.values():
                log.read_position, log.read_through = 0, []

    @property
    def files(self) -> list[LogFile]:
        """The files, oldest first, so that rotated ones come before the live one."""
        return sorted(self._files.values(), key=lambda file: (file.stat.st_mtime_ns, file.path))

    def scan(self) -> None:
        """Look at the disk: new files, other names, files that were cut or are gone."""
        seen = set()
        for pattern in self._patterns:
            for path in glob.glob(pattern, recursive=True):
                try:
                    stat = os.stat(path)
                    if not os.path.isfile(path):
                        continue
                    seen.add((stat.st_dev, stat.st_ino))
                    self._look_at(path, stat)
                except FileNotFoundError:
                    continue  # renamed since the pattern was looked up
                except (OSError, AgentError) as error:
                    self._warnings.warn(path, f"{path} is not read: {error}")
        for inode in self._files.keys() - seen:
            self._look_at_renamed(self._files[inode])
        for file in self.files[: max(0, len(self._files) - MAX_OPEN_FILES)]:
            if not file.unread_bytes:
                self._close(file)

    def _look_at(self, path: str, stat: os.stat_result) -> None:
        known = self._files.get((stat.st_dev, stat.st_ino))
        if known:
            known.path, known.renamed_at = path, None
            self._refresh(known, stat)
        elif stat.st_size and self._read.get((stat.st_dev, stat.st_ino)) != _stamp(stat):
            self._open(path)

    def _open(self, path: str) -> None:
        file = open(path, "rb")  # noqa: SIM115 - kept open, also under other names
        try:
            reader = reader_of(file)
            head = reader.head()
            log = self._find_log(head, None)
            opened = LogFile(path, file, reader, log or Log(""), os.fstat(file.fileno()))
        except BaseException:
            file.close()
            raise
        if log is None:
            file.close()
            return
        self._files[opened.inode] = opened
        self._take_up(opened, log, head)
        if opened.is_compressed and not opened.unread_bytes:
            self._close(opened)

    def _find_log(self, head: bytes, cut: LogFile | None) -> Log | None:
        """Return the log that content is, or begin a new one. None: its first line is not whole.

        `cut` is a file that held another log until now.
        """
        line = first_line(head)
        if line is None:
            return None
        number = 0
        while True:
            name = log_name(self._state.host, line, number)
            log = self._logs.setdefault(name, Log(name))
            if not (cut and cut.log is log) and self._is_beginning(head, log, cut):
                return log
            number += 1

    def _is_beginning(self, head: bytes, log: Log, own: LogFile | None) -> bool:
        """Return False for content that differs from a log's, or from another file with that log.

        Digests tell only at some lengths; while the other file is open, all is compared.
        """
        if not log.begins_like(head):
            return False
        for other in self._files.values():
            if other.log is log and other is not own:
                theirs = other.reader.head()
                length = min(len(theirs), len(head))
                # It may have been emptied since it was looked at: then it is no witness.
                if log.is_whole_beginning(theirs) and theirs[:length] != head[:length]:
                    return False
        return True

    def _take_up(self, file: LogFile, log: Log, head: bytes) -> None:
        log.note_beginning(head)
        log.path = file.path
        file.log = log
        if self._are_finished and isinstance(file.reader, PlainReader):
            file.reader.is_complete = time.time() - file.stat.st_mtime > FINISHED_SECONDS

    def _refresh(self, known: LogFile, stat: os.stat_result) -> None:
        if _stamp(stat) == known.stamp:
            known.log.path = known.path
            return
        before = known.stat.st_size if known.is_compressed else known.log.read_position
        known.stat = stat
        head = known.reader.head()
        was_cut = stat.st_size < before or not known.log.is_whole_beginning(head)
        if not was_cut and self._is_beginning(head, known.log, known):
            self._take_up(known, known.log, head)
            return
        # Emptied and written anew: another log, also if it begins with the same line.
        known.reader = reader_of(known.file)
        head = known.reader.head()
        log = self._find_log(head, known)
        if log is None:
            self._files.pop(known.inode).file.close()
            return
        self._take_up(known, log, head)

    def _look_at_renamed(self, file: LogFile) -> None:
        """Go on with a file that no path leads to any more, until it has not grown for a while."""
        now = time.monotonic()
        if file.renamed_at is None:
            file.renamed_at = now
        self._refresh(file, os.fstat(file.file.fileno()))
        if file.unread_bytes:
            file.renamed_at = now
            if not file.stat.st_nlink:
                text = f"{file.path} was deleted before it was sent. It is still read to its end."
                self._warnings.warn(f"deleted {file.path}", text)
        elif now - file.renamed_at > RENAMED_FILE_SECONDS and file.inode in self._files:
            self._close(file)

    def _close(self, file: LogFile) -> None:
        self._files.pop(file.inode).file.close()
        self._read[file.inode] = file.stamp

    def close(self) -> None:
        for file in self.files:
            self._close(file)

    def next_parcel(self, max_bytes: int) -> Parcel:
        """Return the next lines, oldest file first. Without `ends`, there was nothing to read."""
        parcel = Parcel()
        for file in self.files:
            if file.unread_bytes:
                file.fill(parcel, max_bytes)
            if parcel.is_full(max_bytes):
                break
        return parcel

    def commit(self, parcel: Parcel) -> None:
        """Move the positions to the end of a parcel that was taken."""
        for log, end in parcel.ends.values():
            log.position = max(log.position, end)
            log.taken_at = time.time()
            self._uncommitted[log.name] = log
        try:
            for name in list(self._uncommitted):
                self._state.save(self._uncommitted[name])
                del self._uncommitted[name]
        except OSError as error:
            # What was taken is sent again after a restart, and counted once all the same.
            text = f"Positions cannot be written to {self._state.directory}: {error.strerror}."
            self._warnings.warn("positions", text)


def _stamp(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns]


# --- What is posted -------------------------------------------------------------------------------


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The body as an object of JSON, or an empty one."""
        try:
            data = json.loads(self.body)
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}

    def retry_after(self) -> float | None:
        """Return the seconds that the answer asks to wait, or None."""
        text = self.headers.get("retry-after", "").strip()
        if text.isdigit():
            return min(float(text), MAX_RETRY_AFTER_SECONDS)
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


class OpenConnection(NamedTuple):
    """A connection, to revcred or to a proxy, and what posts through it begin with."""

    connection: http.client.HTTPConnection
    root: str
    headers: Mapping[str, str]


class Target(ABC):
    """A place to which lines are posted. `url` is its name in warnings."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def post(self, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body. Raises OSError, http.client.HTTPException."""


class Product(Target):
    """revcred as it is reached from here: through proxies, with the system's certificates."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            message = f"“{url}” is not an address such as https://revcred.example.com."
            raise AgentError(message)
        if parts.username or parts.password:
            message = "The address of revcred may hold no password. The token is in a file."
            raise AgentError(message)
        super().__init__(url.rstrip("/"))
        self._is_secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._is_secure else 80)
        self._root = parts.path.rstrip("/")
        self._idle: list[OpenConnection] = []  # connections that can be used again

    def post(self, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body. Raises OSError, http.client.HTTPException."""
        if self._idle:
            # It may have been closed at the other end meanwhile, also while it was written to.
            # What arrives twice is counted once.
            with suppress(OSError, http.client.HTTPException, IndexError):
                return self._exchange(self._idle.pop(), address, body, headers)
        return self._exchange(self._connect(), address, body, headers)

    def get(self, address: str, headers: Mapping[str, str]) -> Answer:
        """Ask for what is at an address. Raises OSError, http.client.HTTPException."""
        if self._idle:
            with suppress(OSError, http.client.HTTPException, IndexError):
                return self._exchange(self._idle.pop(), address, None, headers)
        return self._exchange(self._connect(), address, None, headers)

    def _exchange(
        self, opened: OpenConnection, address: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """Exchange a request without a body, or a post, for its answer."""
        try:
            method = "GET" if body is None else "POST"
            opened.connection.request(
                method, opened.root + address, body, {**opened.headers, **headers}
            )
            response = opened.connection.getresponse()
            content = response.read(MAX_BYTES_PER_POST)
        except BaseException:
            opened.connection.close()
            raise
        lower = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close or not response.isclosed():
            response.close()
            opened.connection.close()
        else:
            self._idle.append(opened)
        return Answer(response.status, lower, content)

    def _connect(self) -> OpenConnection:
        proxy = self._proxy()
        host, port = (proxy.hostname or "", proxy.port or 80) if proxy else (self._host, self._port)
        connection: http.client.HTTPConnection
        if self._is_secure:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                host, port, timeout=POST_TIMEOUT_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=POST_TIMEOUT_SECONDS)
        root, headers = self._root, {"User-Agent": f"revcred-agent/{VERSION}"}
        login = _basic_login(proxy) if proxy else {}
        if proxy and self._is_secure:
            connection.set_tunnel(self._host, self._port, headers=login)
        elif proxy:
            root = self.url
            headers.update(login)
        return OpenConnection(connection, root, headers)

    def _proxy(self) -> urllib.parse.SplitResult | None:
        scheme = "https" if self._is_secure else "http"
        url = urllib.request.getproxies().get(scheme)
        if not url or urllib.request.proxy_bypass(self._host):
            return None
        return urllib.parse.urlsplit(url if "//" in url else f"//{url}")

    def close(self) -> None:
        while self._idle:
            self._idle.pop().connection.close()


def _basic_login(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    user, password = map(urllib.parse.unquote, (proxy.username, proxy.password or ""))
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {login}"}


def read_token(path: Path) -> str:
    """Return the token in a file. Raises AgentError."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"The token cannot be read from {path}: {error}"
        raise AgentError(message) from None
    if not re.fullmatch(r"[!-~]+", token):
        message = f"{path} holds no token: it has to be one line without blanks."
        raise AgentError(message)
    return token


class GiveWay(NamedTuple):
    """Answers that decide once they have been the answer for some seconds."""

    statuses: set[int]
    seconds: float


class Courier:
    """Posts until there is an answer that decides. All else is tried again, for ever.

    With `gives_up`, an answer that only its operator can change raises AgentError.
    """

    def __init__(
        self,
        target: Target,
        token_file: Path | None,
        warnings: Warnings,
        stopping: threading.Event,
        *,
        gives_up: bool = False,
    ) -> None:
        self.target = target
        self.stopping = stopping
        self._token_file = token_file
        self._warnings = warnings
        self._gives_up = gives_up

    def post(
        self,
        address: str,
        body: bytes,
        headers: Mapping[str, str],
        deciding: Iterable[int],
        give_way: GiveWay | None = None,
    ) -> Answer:
        """Return the first answer whose status decides, now or after a while.

        Raises Stopped, AgentError.
        """

        def post() -> Answer:
            return self.target.post(address, body, {**self._login(headers), **headers})

        return self._first_deciding(post, deciding, give_way)

    def get(self, product: Product, address: str, deciding: Iterable[int]) -> Answer:
        """Ask for what is at an address, as `post` posts. Raises Stopped, AgentError."""
        return self._first_deciding(lambda: product.get(address, self._login({})), deciding, None)

    def _first_deciding(
        self, ask: Callable[[], Answer], deciding: Iterable[int], give_way: GiveWay | None
    ) -> Answer:
        pause, began = FIRST_PAUSE_SECONDS, time.monotonic()
        while True:
            asked: float | None = None
            try:
                answer = ask()
            except (OSError, http.client.HTTPException, AgentError) as error:
                self._warn(f"{self.target.url} does not answer: {_told(error)}", None)
            else:
                if answer.status in deciding and answer.data.get("code") not in OPERATORS_CODES:
                    return answer
                waited = time.monotonic() - began
                if give_way and answer.status in give_way.statuses and waited >= give_way.seconds:
                    return answer
                asked = answer.retry_after()
                self._warn(_meaning(answer, self.target.url), answer.status)
            wait = asked if asked is not None else pause * random.uniform(0.5, 1.0)  # noqa: S311
            if self.stopping.wait(wait):
                raise Stopped
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _login(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the header with the token. The file is read anew, so that it can be replaced."""
        if self._token_file is None or "Authorization" in headers:
            return {}
        return {"Authorization": f"Bearer {read_token(self._token_file)}"}

    def _warn(self, text: str, status: int | None) -> None:
        if self._gives_up and status and 300 <= status < 500 and status not in PASSING_STATUSES:
            raise AgentError(text)
        self._warnings.warn(f"answer {status}", f"{text} Trying again.")


PASSING_STATUSES = {408, 425, 429}
# Of answers that no line is to blame for: lines wait until somebody has mended it.
OPERATORS_CODES = {"unknown_format"}


def _told(error: Exception) -> str:
    """Return an error in one line. Errors of connections quote neither headers nor bodies."""
    return f"{str(error) or type(error).__name__}.".replace("..", ".")


def _meaning(answer: Answer, url: str) -> str:
    status = answer.status
    if answer.data.get("code") in OPERATORS_CODES:
        return f"{url} cannot read lines of this gateway: {answer.data.get('message', '')}"
    if status in {401, 403}:
        return f"{url} does not accept the token ({status})."
    if status in {429, 503}:
        return f"{url} is busy ({status})."
    if 300 <= status < 400:
        return f"{url} leads elsewhere ({status}). Name the address that it leads to."
    if status in {404, 405}:
        return f"{url} has nothing at this address ({status}). Is it the address of revcred?"
    return f"{url} answers {status}."


class LineSender:
    """Posts lines, in parts where it has to be, and returns notes of those that are rejected."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self.max_bytes = MAX_BYTES_PER_POST

    def deliver(self, lines: Sequence[Line]) -> list[dict[str, Any]]:
        """Return once revcred has each line or has rejected it. Raises Stopped, AgentError."""
        body = b"".join(line.posted for line in lines)
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        compressed = gzip.compress(body, 1)
        answer = self._courier.post(LINES_ADDRESS, compressed, headers, {202, 400, 413})
        rejected = _rejections(answer, len(lines))
        if answer.status == http.client.ACCEPTED or len(rejected) == len(lines):
            return [self._note(lines[index], reason) for index, reason in rejected.items()]
        if len(lines) == 1:
            reason = {"code": f"http_{answer.status}", **answer.data}
            return [self._note(lines[0], reason)]
        if answer.status == http.client.REQUEST_ENTITY_TOO_LARGE:
            self.max_bytes = max(MIN_BYTES_PER_POST, min(self.max_bytes, len(body) // 2))
        middle = len(lines) // 2
        return [*self.deliver(lines[:middle]), *self.deliver(lines[middle:])]

    def stop(self) -> None:
        """Give up what is tried again."""
        self._courier.stopping.set()

    def _note(self, line: Line, reason: Mapping[str, Any]) -> dict[str, Any]:
        told = {name: reason.get(name) for name in ("code", "field", "message")}
        text = line.posted.decode()
        short = {name: _without_parts_of(text, said) for name, said in told.items() if said}
        return parked_note(line.log, line.offset, short)


def _rejections(answer: Answer, count: int) -> dict[int, Mapping[str, Any]]:
    """Return the reasons of rejected lines by their place in the post."""
    listed = answer.data.get("rejected")
    rejected = {}
    for reason in listed if isinstance(listed, list) else []:
        index = reason.get("index") if isinstance(reason, dict) else None
        if isinstance(index, int) and 0 <= index < count:
            rejected[index] = reason
    return rejected


def _without_parts_of(line: str, said: Any) -> str:
    """Return what was said, in short, without anything that may be a key of the line."""

    def hide(found: re.Match[str]) -> str:
        word = found[0]
        return "…" if word in line and any(map(str.isdigit, word)) else word

    return re.sub(r"[\w.~+/=-]{8,}", hide, str(said))[:300]


class Pump:
    """Posts several parcels at once, and moves the positions in the order of reading."""

    def __init__(self, tracker: Tracker, sender: LineSender, state: State) -> None:
        self._tracker = tracker
        self._sender = sender
        self._state = state
        self._pool = ThreadPoolExecutor(POSTS_AT_ONCE)
        self._under_way: deque[tuple[Parcel, Future[list[dict[str, Any]]]]] = deque()
        self.sent = 0  # lines that were answered
        self.parked = 0
        self.caught_up_at = time.monotonic()

    def fill(self) -> bool:
        """Post what there is to read. Return True if there is more than can be posted at once."""
        while len(self._under_way) < POSTS_AT_ONCE:
            parcel = self._tracker.next_parcel(self._sender.max_bytes)
            if not parcel.ends:
                if not self._under_way:
                    self.caught_up_at = time.monotonic()
                    self._state.note_caught_up()
                return False
            posted = self._pool.submit(self._deliver, parcel)
            self._under_way.append((parcel, posted))
            if not parcel.is_full(self._sender.max_bytes):
                return False
        return True

    def commit(self, max_seconds: float) -> bool:
        """Commit what was taken, waiting for the oldest. Return True if nothing is under way.

        Raises:
            Stopped, AgentError: it was not taken, and will not be.
        """
        deadline = time.monotonic() + max_seconds
        while self._under_way:
            parcel, posted = self._under_way[0]
            try:
                notes = posted.result(max(0.0, deadline - time.monotonic()))
            except FutureTimeoutError:
                return False
            # The notes first: a line must not be passed over without one.
            self._state.park(notes)
            self._tracker.commit(parcel)
            self._under_way.popleft()
            self.sent += len(parcel.lines)
            self.parked += len(notes)
        return True

    def close(self) -> None:
        """Commit what is still answered. What is not is sent again by the next start."""
        with suppress(Stopped, AgentError):
            self.commit(POST_TIMEOUT_SECONDS)
        self._sender.stop()
        self._pool.shutdown()

    def _deliver(self, parcel: Parcel) -> list[dict[str, Any]]:
        return parcel.notes + (self._sender.deliver(parcel.lines) if parcel.lines else [])


# --- Commands -------------------------------------------------------------------------------------


def follow(options: argparse.Namespace, stopping: threading.Event) -> int:
    """Send what is written to the files until told to stop."""
    warnings = Warnings()
    state = State(options.state, options.host)
    for pattern in options.files:
        if not glob.has_magic(pattern):
            text = f"{pattern} has no *: a rotated file will not be found after a pause."
            logger.warning("%s", text)
    with ExitStack() as closing_later:
        product = closing_later.enter_context(closing(Product(options.url)))
        read_token(options.token_file)
        closing_later.enter_context(state.locked("follow"))
        write_safely(state.directory / "follow.json", json.dumps(options.files))
        tracker = closing_later.enter_context(closing(Tracker(options.files, state, warnings)))
        courier = Courier(product, options.token_file, warnings, stopping)
        pump = closing_later.enter_context(closing(Pump(tracker, LineSender(courier), state)))
        logger.info("following %s as %s", ", ".join(options.files), state.host)
        with suppress(Stopped):
            _follow(tracker, pump, stopping, warnings)
    logger.info("stopped: %s lines sent, %s rejected", pump.sent, pump.parked)
    return 0


def _follow(tracker: Tracker, pump: Pump, stopping: threading.Event, warnings: Warnings) -> None:
    parked = 0
    while not stopping.is_set():
        tracker.scan()
        is_behind = pump.fill()
        pump.commit(POLL_SECONDS)
        if not is_behind:
            stopping.wait(POLL_SECONDS)
        if pump.parked > parked:
            text = f"{pump.parked} lines were rejected. “revcred-agent status” says why."
            warnings.warn("parked", text)
            parked = pump.parked
        behind = time.monotonic() - pump.caught_up_at
        if behind > LAG_WARNING_SECONDS:
            unread = sum(file.unread_bytes for file in tracker.files)
            warnings.warn("lag", f"Behind for {behind:.0f} s; {unread:,} bytes are not read yet.")


def import_files(options: argparse.Namespace, stopping: threading.Event) -> int:
    """Send files that are complete, and say how many lines were taken."""
    warnings = Warnings()
    state = State(options.state, options.host)
    read_token(options.token_file)
    with closing(Product(options.url)) as product, state.locked("import"):
        courier = Courier(product, options.token_file, warnings, stopping, gives_up=True)
        sender = LineSender(courier)
        return import_with(sender, options.files, state, warnings, again=options.again)


def import_with(
    sender: LineSender, files: Sequence[str], state: State, warnings: Warnings, *, again: bool
) -> int:
    """Send files through a sender, with a progress bar. Return the exit status."""
    missing = [path for path in files if not os.path.isfile(path)]
    if missing:
        message = f"{missing[0]} is not a file."
        raise AgentError(message)
    patterns = [glob.escape(path) for path in files]
    with closing(Tracker(patterns, state, warnings, are_finished=True, again=again)) as tracker:
        tracker.scan()
        progress = Progress(tracker.files)
        with closing(Pump(tracker, sender, state)) as pump:
            try:
                while pump.fill() or not pump.commit(POLL_SECONDS):
                    pump.commit(POLL_SECONDS)
                    progress.show(pump.sent)
            except Stopped:
                sys.stderr.write("\nStopped. The same command goes on from here.\n")
                return 1
        progress.end(pump.sent)
        sys.stdout.write(f"{pump.sent:,} lines sent, {pump.parked:,} of them rejected.\n")
        for file in tracker.files:
            _tell_unread(file)
    return 1 if pump.parked else 0


def _tell_unread(file: LogFile) -> None:
    if isinstance(file.reader, GzipReader) and not file.reader.is_complete:
        sys.stdout.write(f"{file.path} is cut or damaged: sent as far as it can be read.\n")
    elif file.unread_bytes:
        sys.stdout.write(f"{file.path}: the last line has no end yet. It was not sent.\n")


class Progress:
    """A bar on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, files: Sequence[LogFile]) -> None:
        self._files = files
        self._total = sum(file.stat.st_size for file in files) or 1
        self._began = time.monotonic()
        self._shown = 0.0
        self._is_terminal = sys.stderr.isatty()

    def show(self, lines: int) -> None:
        now = time.monotonic()
        if now - self._shown < (0.2 if self._is_terminal else 10.0):
            return
        self._shown = now
        self._write(lines)

    def _write(self, lines: int) -> None:
        read = sum(
            min(file.stat.st_size, file.reader.progress(file.log.read_position))
            for file in self._files
        )
        part = min(1.0, read / self._total)
        seconds = max(0.001, time.monotonic() - self._began)
        left = seconds / part - seconds if part else 0.0
        bar = "#" * round(30 * part)
        text = (
            f"[{bar:30}] {part:4.0%}  {lines:,} lines, {lines / seconds:,.0f}/s, {left:.0f} s left"
        )
        sys.stderr.write(f"\r{text}  " if self._is_terminal else f"{text}\n")
        sys.stderr.flush()

    def end(self, lines: int) -> None:
        if self._is_terminal:
            self._write(lines)
            sys.stderr.write("\n")


# --- The beacon: posts of a gateway on the same host ----------------------------------------------


class Received(NamedTuple):
    """A post of a gateway, as it is passed on."""

    address: str
    headers: dict[str, str]
    body: bytes
    arrived_at: float


class SpoolPlace(NamedTuple):
    """The end of a post in the spool."""

    segment: int
    offset: int


class Spool:
    """Posts on the disk, in the order of their arrival, until they are taken.

    They lie in segments. A segment is deleted when all of it was taken.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._writing = threading.Lock()
        self._syncing = threading.Lock()
        self._written = self._synced = 0  # posts
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What a process that died has not finished was not answered: a new segment begins.
            self._segment = max(self._segments(), default=0) + 1
            self._file = self._begin_segment()
        except OSError as error:
            message = f"{directory} cannot be written: {error.strerror}."
            raise AgentError(message) from error

    def _segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self.directory.glob("*.spool"))

    def _path(self, segment: int) -> Path:
        return self.directory / f"{segment:012}.spool"

    def _begin_segment(self) -> BinaryIO:
        descriptor = os.open(self._path(self._segment), os.O_WRONLY | os.O_CREAT, 0o600)
        sync_directory(self.directory)
        return os.fdopen(descriptor, "ab")

    @property
    def size(self) -> int:
        """Bytes on the disk, also of posts that were set aside."""
        return size_of_files(self.directory.rglob("*.spool"))

    @property
    def is_empty(self) -> bool:
        return not size_of_files(self.directory.glob("*.spool"))

    @property
    def is_full(self) -> bool:
        return self.size >= self._max_bytes

    def keep(self, post: Received) -> None:
        """Return once a post is on the disk. Those that wait share one fsync. Raises OSError."""
        head = {
            "address": post.address,
            "headers": post.headers,
            "bytes": len(post.body),
            "at": post.arrived_at,
        }
        with self._writing:
            if self._file.tell() > SEGMENT_BYTES:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._segment += 1
                self._file = self._begin_segment()
            self._file.write(json.dumps(head).encode() + b"\n" + post.body + b"\n")
            self._file.flush()
            self._written += 1
            own = self._written
        with self._syncing:
            if self._synced >= own:
                return  # by the one that waited before
            with self._writing:
                written, file = self._written, os.dup(self._file.fileno())
            try:
                os.fsync(file)
            finally:
                os.close(file)
            self._synced = written

    def read_from(self, place: SpoolPlace) -> Iterator[tuple[Received, SpoolPlace]]:
        """Yield what lies behind a place and is whole, each with the place where it ends."""
        for segment in self._segments():
            if segment < place.segment:
                continue
            with open(self._path(segment), "rb") as file:
                file.seek(place.offset if segment == place.segment else 0)
                while post := _read_post(file):
                    yield post, SpoolPlace(segment, file.tell())

    def taken_place(self) -> SpoolPlace:
        """Return the place up to which all was taken."""
        try:
            stored = json.loads((self.directory / "taken.json").read_text(encoding="utf-8"))
            return SpoolPlace(int(stored["segment"]), int(stored["offset"]))
        except (OSError, ValueError, KeyError, TypeError):
            return SpoolPlace(0, 0)

    def note_taken(self, place: SpoolPlace) -> None:
        taken = {"segment": place.segment, "offset": place.offset}
        write_safely(self.directory / "taken.json", json.dumps(taken))
        for segment in self._segments():
            if segment < place.segment:
                self._path(segment).unlink(missing_ok=True)

    def close(self) -> None:
        with self._syncing, self._writing:
            self._file.close()

    def drop_taken(self, place: SpoolPlace) -> SpoolPlace:
        """Delete all segments if all was taken, and return the place to go on from."""
        with self._syncing, self._writing:
            end = SpoolPlace(self._segment, self._file.tell())
            if end.offset and place != end:
                return place
            if end.offset:
                self._file.close()
                self._segment += 1
                self._file = self._begin_segment()
            beginning = SpoolPlace(self._segment, 0)
            if place != beginning:
                self.note_taken(beginning)
            return beginning


def size_of_files(paths: Iterable[Path]) -> int:
    """Return the bytes of the files that are still there: segments are deleted meanwhile."""
    size = 0
    for path in paths:
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def _read_post(file: BinaryIO) -> Received | None:
    """Return the next post, or None where it is not whole."""
    start = file.tell()
    try:
        head = json.loads(file.readline())
        body = file.read(head["bytes"] + 1)
        if len(body) == head["bytes"] + 1:
            # Without a moment, an earlier version kept it.
            arrived_at = head.get("at") or os.fstat(file.fileno()).st_mtime
            return Received(head["address"], head["headers"], body[:-1], arrived_at)
    except (ValueError, KeyError, TypeError):
        pass
    file.seek(start)
    return None


PASSED_ON_HEADERS = (
    *("authorization", "x-api-key", "content-type", "content-encoding", "idempotency-key"),
    *("x-revcred-token", "user-agent"),
)
FINAL_STATUSES = {*range(200, 300), 400, 409, 413, 415, 422}
LOGIN_HEADERS = ("authorization", "x-api-key", "x-revcred-token")
TOKEN_STATUSES = {401, 403}
NOWHERE_STATUSES = {404, 405}
# For so long a post may hold up those behind it: then it is set aside, and they pass.
HOLD_UP_SECONDS = 60.0
# Then a post to an address that does not exist is parked. Until then the address of revcred may be
# wrong, or a proxy may answer for it.
NOWHERE_SECONDS = 24 * 3600.0
MAX_QUEUES_ASIDE = 20
FIRST_POST_SECONDS = 1.0  # that a new connection gets while the beacon ends
ENDING_LOOK_SECONDS = 0.02
# What is no path could lead elsewhere behind the address of revcred, or could never be posted.
ADDRESS_ON_HOST = re.compile(r"/[!-~]*")
OTLP_ADDRESS = re.compile(r"/v1/(logs|traces)/?$")


class BeaconHandler(BaseHTTPRequestHandler):
    """Answers a post once it is on the disk."""

    protocol_version = "HTTP/1.1"
    server_version = f"revcred-agent/{VERSION}"
    timeout = 60  # seconds that a connection may be idle
    server: BeaconServer

    def setup(self) -> None:
        super().setup()
        self.server.fresh.add(self.connection)

    def finish(self) -> None:
        self.server.fresh.discard(self.connection)
        self.server.idle.discard(self.connection)
        super().finish()

    def parse_request(self) -> bool:
        self.server.fresh.discard(self.connection)
        self.server.idle.discard(self.connection)
        return super().parse_request()

    def do_POST(self) -> None:
        if not ADDRESS_ON_HOST.fullmatch(self.path):
            self._answer(400, b"", close=True)
            return
        body = self._body()
        if body is None:
            self._answer(413, b"", close=True)
            return
        passed_on = {name: self.headers[name] for name in PASSED_ON_HEADERS if name in self.headers}
        if not self.server.keep(Received(self.path, passed_on, body, time.time())):
            self._answer(503, b"", {"Retry-After": "10"})
        elif OTLP_ADDRESS.search(self.path.partition("?")[0]):
            # An export is answered with an empty message in its own encoding, and with 200.
            kind = self.headers.get("Content-Type", "application/x-protobuf")
            text = b"{}" if "json" in kind else b""
            self._answer(200, text, {"Content-Type": kind})
        else:
            self._answer(202, b"")

    def do_GET(self) -> None:
        waiting = f"revcred-agent listens. {self.server.spool.size:,} bytes are in the spool.\n"
        self._answer(200, waiting.encode(), {"Content-Type": "text/plain"})

    def log_message(self, *_: Any) -> None:
        """Say nothing of requests: addresses may hold keys."""

    def _body(self) -> bytes | None:
        """Return the body, still compressed as it was sent, or None if it is too large."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts, size = [], 0
            while length := int(self.rfile.readline(100).partition(b";")[0], 16):
                size += length
                if length < 0 or size > MAX_RECEIVED_BYTES:
                    return None
                parts.append(self.rfile.read(length))
                self.rfile.readline(100)
            while self.rfile.readline(10_000).strip():
                pass  # trailers
            return b"".join(parts)
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_RECEIVED_BYTES:
            return None
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError
        return body

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        close: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if close or self.server.is_ending:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
        self.server.idle.add(self.connection)


class BeaconServer(ThreadingHTTPServer):
    """Listens, also on a socket that systemd or the process before has opened."""

    daemon_threads = False  # those that are being answered are waited for
    block_on_close = True
    request_queue_size = 1_024

    def __init__(self, listening: socket.socket, spool: Spool, warnings: Warnings) -> None:
        self.address_family = listening.family
        super().__init__(listening.getsockname()[:2], BeaconHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.socket.listen(self.request_queue_size)
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.spool = spool
        self.arrived = threading.Event()
        self.fresh: set[socket.socket] = set()  # connections whose first post has yet to come
        self.idle: set[socket.socket] = set()  # connections that wait for another post
        self.is_ending = False
        self._warnings = warnings

    def end(self) -> None:
        """Accept no more, and end connections on which nothing is being posted."""
        self.is_ending = True
        self.shutdown()
        # Whoever has just connected is about to post, and would take no answer for a loss.
        deadline = time.monotonic() + FIRST_POST_SECONDS
        while self.fresh and time.monotonic() < deadline:
            time.sleep(ENDING_LOOK_SECONDS)
        for connection in [*self.idle, *self.fresh]:
            # What has arrived is still read and answered.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        self.arrived.set()

    def keep(self, post: Received) -> bool:
        """Return True once a post is on the disk; False if it cannot be kept now."""
        if self.spool.is_full:
            self._warnings.warn("spool", "The spool is full. The gateway is told to wait.")
            return False
        try:
            self.spool.keep(post)
        except OSError as error:
            self._warnings.warn("spool", f"The spool cannot be written: {error.strerror}.")
            return False
        self.arrived.set()
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a gateway gives up."""


class SpoolSender:
    """Passes posts on, several at once, and notes in their order that they were taken.

    With `aside`, a post that is refused for its token or its address lets the others pass.
    """

    def __init__(
        self, spool: Spool, courier: Courier, state: State, aside: PostsAside | None = None
    ) -> None:
        self._spool = spool
        self._courier = courier
        self._state = state
        self._aside = aside
        self._pool = ThreadPoolExecutor(POSTS_AT_ONCE)

    def run(self, arrived: threading.Event) -> None:
        """Pass on what is there and what arrives, until the courier is stopped."""
        place = self._spool.taken_place()
        while not self._courier.stopping.is_set():
            arrived.clear()
            try:
                place = self._spool.drop_taken(self._pass_on(place))
            except Stopped:
                break
            except OSError as error:
                logger.warning("The spool: %s. Trying again.", error)
                self._courier.stopping.wait(MAX_PAUSE_SECONDS)
            arrived.wait(POLL_SECONDS)
        self._pool.shutdown()

    def _pass_on(self, place: SpoolPlace) -> SpoolPlace:
        under_way: deque[tuple[SpoolPlace, Future[list[dict[str, Any]]]]] = deque()
        for post, end in self._spool.read_from(place):
            under_way.append((end, self._pool.submit(self._deliver, post)))
            if len(under_way) >= POSTS_AT_ONCE:
                place = self._note_first(under_way)
        while under_way:
            place = self._note_first(under_way)
        return place

    def _note_first(
        self, under_way: deque[tuple[SpoolPlace, Future[list[dict[str, Any]]]]]
    ) -> SpoolPlace:
        end, delivered = under_way.popleft()
        self._state.park(delivered.result())
        self._spool.note_taken(end)
        return end

    def _deliver(self, post: Received) -> list[dict[str, Any]]:
        """Return a note if the post was rejected as a whole. Raises Stopped, OSError."""
        if self._aside and self._aside.has_queue_of(post):
            self._aside.keep(post)
            return []
        headers = {name.title(): value for name, value in post.headers.items()}
        answer = self._courier.post(
            post.address, post.body, headers, FINAL_STATUSES, self._gives_way(post)
        )
        if answer.status < 300:
            return []
        if self._aside and answer.status in TOKEN_STATUSES | NOWHERE_STATUSES:
            self._aside.keep(post)
            return []
        said = {"code": f"http_{answer.status}", **answer.data}
        note = {name: str(said[name])[:60] for name in ("code", "field") if said.get(name)}
        address = post.address.partition("?")[0]
        return [{"at": time.time(), "path": address, "bytes": len(post.body), **note}]

    def _gives_way(self, post: Received) -> GiveWay:
        if self._aside:
            return GiveWay(TOKEN_STATUSES | NOWHERE_STATUSES, HOLD_UP_SECONDS)
        waited = time.time() - post.arrived_at
        return GiveWay(NOWHERE_STATUSES, max(0.0, NOWHERE_SECONDS - waited))


class PostsAside:
    """Posts that revcred refuses for their token or address: a queue for each of these.

    So a wrong token, or a stray address, holds up nothing else. They are tried again for ever,
    but for addresses that still do not exist after a day.
    """

    def __init__(self, spool: Spool, courier: Courier, state: State) -> None:
        self._directory = spool.directory / "aside"
        self._courier = courier
        self._state = state
        self._queues: dict[str, tuple[Spool, threading.Event, threading.Thread]] = {}
        self._opening = threading.Lock()
        for path in sorted(self._directory.glob("*/")):
            if size_of_files(path.glob("*.spool")):
                self._open(path.name)
            else:  # all of it was taken before
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()

    def has_queue_of(self, post: Received) -> bool:
        """Return True while posts of the same address and token are waiting here."""
        queue = self._queues.get(self._name_of(post))
        return queue is not None and not queue[0].is_empty

    def keep(self, post: Received) -> None:
        """Return once the post is on the disk. Raises OSError."""
        with self._opening:
            name = self._name_of(post)
            spool, arrived, _ = self._queues.get(name) or self._open(name)
        spool.keep(post)
        arrived.set()

    def _name_of(self, post: Received) -> str:
        logins = [post.headers.get(name, "") for name in LOGIN_HEADERS]
        name = _digest("\0".join([post.address.partition("?")[0], *logins]).encode())[:16]
        # A scanner on the host may ask for any address.
        is_known = name in self._queues or len(self._queues) < MAX_QUEUES_ASIDE
        return name if is_known else "others"

    def _open(self, name: str) -> tuple[Spool, threading.Event, threading.Thread]:
        try:
            spool = Spool(self._directory / name, max_bytes=0)  # the one before is limited
        except AgentError as error:
            raise OSError(str(error)) from error
        arrived = threading.Event()
        sender = SpoolSender(spool, self._courier, self._state)
        thread = threading.Thread(target=sender.run, args=[arrived])
        self._queues[name] = spool, arrived, thread
        thread.start()
        return self._queues[name]

    def close(self) -> None:
        """Wait for what is under way, once the courier is stopped."""
        for spool, arrived, thread in [*self._queues.values()]:
            arrived.set()
            thread.join()
            spool.close()


def listen(options: argparse.Namespace, stopping: threading.Event) -> int:
    """Keep what a gateway posts on this disk, and pass it on until it is taken."""
    warnings = Warnings()
    state = State(options.state, options.host)
    if options.token_file:
        read_token(options.token_file)
    with ExitStack() as closing_later:
        closing_later.enter_context(state.locked("listen"))
        product = closing_later.enter_context(closing(Product(options.url)))
        spool = Spool(state.directory / "spool", options.spool * 1_000_000)
        closing_later.enter_context(closing(spool))
        listening = listening_socket(options.address)
        # The process after this one may go on to listen: it must not be closed by the server.
        kept = os.dup(listening.fileno())
        server = closing_later.enter_context(BeaconServer(listening, spool, warnings))
        courier = Courier(product, options.token_file, warnings, stopping)
        aside = closing_later.enter_context(closing(PostsAside(spool, courier, state)))
        sender = SpoolSender(spool, courier, state, aside)
        threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}),
            threading.Thread(target=sender.run, args=[server.arrived]),
        ]
        for thread in threads:
            thread.start()
        logger.info("listening at %s:%s", *listening.getsockname()[:2])
        stopping.wait()
        server.end()
        for thread in threads:
            thread.join()
    if options.restart.is_set():
        _become_new_process(kept)
    os.close(kept)
    return 0


def listening_socket(address: str) -> socket.socket:
    """Return the socket that was handed on, or else one at an address. Raises AgentError."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS"):
        return socket.socket(fileno=SYSTEMD_FIRST_SOCKET)
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        message = f"“{address}” is not an address such as 127.0.0.1:8125."
        raise AgentError(message)
    try:
        return socket.create_server((host.strip("[]"), int(port)), backlog=1_024)
    except OSError as error:
        message = f"{address} cannot be listened at: {error.strerror}."
        raise AgentError(message) from error


def _become_new_process(listening: int) -> None:
    """Start the program anew with the socket, so that nobody is turned away meanwhile."""
    os.dup2(listening, SYSTEMD_FIRST_SOCKET)
    os.set_inheritable(SYSTEMD_FIRST_SOCKET, True)  # noqa: FBT003 - the standard library's
    # The new process is told to restart before it can listen to that: it is new anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - this very program


# --- Keys that a gateway lets in ------------------------------------------------------------------


@dataclass(frozen=True)
class GatewayKey:
    """A key that a gateway lets in. Its text is sent to revcred, and written nowhere."""

    text: str = field(repr=False)
    kind: str = "key"  # or digest, alias
    is_enabled: bool = True
    created_at: str | None = None
    label: str = ""

    def posted(self) -> dict[str, Any]:
        told: dict[str, Any] = {self.kind: self.text}
        if not self.is_enabled:
            told["enabled"] = False
        if self.created_at:
            told["created_at"] = self.created_at
        if self.label:
            told["label"] = self.label
        return told


class AdminAddress:
    """A gateway's own admin address, as it is reached from its host.

    A password for it stays here: it is a line such as `X-API-KEY: …` in a file.
    """

    def __init__(self, url: str, header_file: Path | None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = "Name the gateway's admin address, such as http://127.0.0.1:8001."
            raise AgentError(message)
        self._url = url.rstrip("/")
        self._host = parts.hostname
        self._headers = {"Accept": "application/json"}
        if header_file:
            name, _, value = read_line(header_file).partition(":")
            if not value.strip():
                message = f"{header_file} holds no header, such as “X-API-KEY: …”."
                raise AgentError(message)
            self._headers[name.strip()] = value.strip()

    def get(self, path: str) -> Any:
        """Return the JSON at a path. Raises AgentError, which quotes no answer."""
        request = urllib.request.Request(self._url + path, headers=self._headers)  # noqa: S310
        try:
            with _without_redirects.open(request, timeout=ADMIN_TIMEOUT_SECONDS) as response:
                return json.loads(response.read(MAX_ADMIN_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            message = f"The admin address at {self._host} answers {error.code}."
        except (OSError, http.client.HTTPException):
            message = f"The admin address at {self._host} does not answer."
        except ValueError:
            message = f"The admin address at {self._host} does not answer with JSON."
        raise AgentError(message) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: the admin password would go along."""

    def redirect_request(self, *_: Any) -> None:
        return None


_without_redirects = urllib.request.build_opener(_NoRedirects)


def read_line(path: Path) -> str:
    """Return the one line of a file. Raises AgentError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {type(error).__name__}."
        raise AgentError(message) from None


def _lines_of(path: str) -> Iterator[str]:
    """Yield the lines of a text file without comments and empty ones. Raises AgentError."""
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                text = line.strip()
                if text and not text.startswith("#"):
                    yield text
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {type(error).__name__}."
        raise AgentError(message) from None


def ask_haproxy(socket_path: str, command: str) -> str:
    """Return the answer of HAProxy's runtime API to a command. Raises AgentError."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ADMIN_TIMEOUT_SECONDS)
            connection.connect(socket_path)
            connection.sendall(command.encode() + b"\n")
            parts = []
            while data := connection.recv(READ_BYTES):
                parts.append(data)
    except OSError as error:
        message = f"HAProxy's socket {socket_path} does not answer: {error.strerror or error}."
        raise AgentError(message) from None
    return b"".join(parts).decode("utf-8", "replace")


def haproxy_entries(map_name: str, socket_path: str | None) -> list[tuple[str, str]]:
    """Return the keys and values of a map, as it is in force or as its file has it."""
    if not socket_path:
        pairs = (line.partition(" ") for line in _lines_of(map_name))
        return [(key, value.strip()) for key, _, value in pairs]
    answer = ask_haproxy(socket_path, f"show map {map_name}")
    entries = []
    for line in answer.splitlines():
        place, _, pair = line.strip().partition(" ")
        if place.startswith("0x"):
            key, _, value = pair.partition(" ")
            entries.append((key, value.strip()))
        elif place:
            message = f"HAProxy knows no map {map_name}. “show map” lists those that it has."
            raise AgentError(message)
    return entries


NGINX_MAP_LINE = re.compile(
    r"""^(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))\s+(?:"([^"]*)"|([^\s;]+))\s*;"""
)
NGINX_MAP_WORDS = {"default", "hostnames", "include", "volatile"}


def nginx_pair(line: str) -> tuple[str, str] | None:
    """Return the key and value of a line of a `map`, or None if it is none of a key."""
    found = NGINX_MAP_LINE.match(line)
    if not found or found[2] in NGINX_MAP_WORDS:
        return None
    key = found[2].removeprefix("\\") if found[1] is None else re.sub(r"\\(.)", r"\1", found[1])
    return key, found[3] or found[4] or ""


def nginx_entries(path: str) -> list[tuple[str, str]]:
    """Return the keys and values of a file that a `map` of nginx includes."""
    return [pair for line in _lines_of(path) if (pair := nginx_pair(line))]


def _keys_of_map(options: argparse.Namespace, entries: list[tuple[str, str]]) -> list[GatewayKey]:
    kind = "digest" if options.digests else "key"
    return [GatewayKey(key, kind, label=value) for key, value in entries]


def keys_of_haproxy(options: argparse.Namespace) -> list[GatewayKey]:
    return _keys_of_map(options, haproxy_entries(options.place, options.socket))


def keys_of_nginx(options: argparse.Namespace) -> list[GatewayKey]:
    return _keys_of_map(options, nginx_entries(options.place))


def keys_of_express_gateway(options: argparse.Namespace) -> list[GatewayKey]:
    found = AdminAddress(options.place, options.header_file).get("/credentials")
    return [
        GatewayKey(
            f"{each['keyId']}:{each['keySecret']}",
            is_enabled=each.get("isActive") not in (False, "false"),
            created_at=_moment(each.get("createdAt")),
            label=str(each.get("consumerId") or ""),
        )
        for each in found["credentials"]
        if each.get("type") == "key-auth"
    ]


def keys_of_kong(options: argparse.Namespace) -> list[GatewayKey]:
    """Return the keys of key-auth, by the admin address or of a configuration in JSON."""
    if not options.place.startswith(("http://", "https://")):
        found = json.loads("\n".join(_lines_of(options.place)))
        consumers = {each.get("id"): each for each in found.get("consumers", [])}
        listed = list(found.get("keyauth_credentials", []))
        for consumer in found.get("consumers", []):
            nested = consumer.get("keyauth_credentials", [])
            listed += [{**each, "consumer": consumer} for each in nested]
    else:
        admin = AdminAddress(options.place, options.header_file)
        consumers = {each["id"]: each for each in _pages_of_kong(admin, "/consumers")}
        listed = list(_pages_of_kong(admin, "/key-auths"))
    return [
        GatewayKey(
            str(each["key"]),
            created_at=_moment(each.get("created_at")),
            label=_consumer_of_kong(each.get("consumer"), consumers),
        )
        for each in listed
    ]


def _pages_of_kong(admin: AdminAddress, path: str) -> Iterator[dict[str, Any]]:
    following: str | None = f"{path}?size=1000"
    while following:
        page = admin.get(following)
        yield from page["data"]
        following = page.get("next")


def _consumer_of_kong(named: Any, consumers: Mapping[Any, Mapping[str, Any]]) -> str:
    if isinstance(named, dict):
        named = {**consumers.get(named.get("id"), {}), **named}
        return str(named.get("username") or named.get("custom_id") or named.get("id") or "")
    return str(named or "")


def keys_of_apisix(options: argparse.Namespace) -> list[GatewayKey]:
    admin = AdminAddress(options.place, options.header_file)
    keys = []
    for consumer in _rows_of_apisix(admin, "/apisix/admin/consumers"):
        name = str(consumer["username"])
        path = f"/apisix/admin/consumers/{urllib.parse.quote(name, safe='')}/credentials"
        for row in [consumer, *_rows_of_apisix(admin, path)]:
            plugin = (row.get("plugins") or {}).get("key-auth") or {}
            if plugin.get("key"):
                is_enabled = not (plugin.get("_meta") or {}).get("disable")
                moment = _moment(row.get("create_time"))
                keys.append(GatewayKey(str(plugin["key"]), "key", is_enabled, moment, name))
    return keys


def _rows_of_apisix(admin: AdminAddress, path: str) -> list[dict[str, Any]]:
    page, size, rows = 1, 500, []
    while True:
        found = admin.get(f"{path}?page={page}&page_size={size}")
        rows += [each["value"] for each in found["list"]]
        if len(found["list"]) < size or len(rows) >= found["total"]:
            return rows
        page += 1


CSV_KINDS = ("key", "digest", "alias")
DISABLED_WORDS = {"0", "false", "no", "off", "disabled", "inactive", "revoked"}


def keys_of_csv(options: argparse.Namespace) -> list[GatewayKey]:
    """Return the keys of a file with a column key, digest or alias, and what else it has."""
    try:
        with open(options.place, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            names = [name.strip().lower() for name in next(rows, [])]
            records = [dict(zip(names, row)) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{options.place} cannot be read: {type(error).__name__}."
        raise AgentError(message) from None
    return [
        GatewayKey(
            record[kind],
            kind,
            record.get("enabled", "").strip().lower() not in DISABLED_WORDS,
            _moment(record.get("created_at")),
            record.get("label", ""),
        )
        for record in records
        for kind in CSV_KINDS
        if record.get(kind)
    ]


def _moment(value: Any) -> str | None:
    """Return a moment in RFC 3339, of seconds or milliseconds since 1970 or of a text; or None."""
    with suppress(ValueError, TypeError, OverflowError, OSError):
        if isinstance(value, (int, float)) or str(value).isdigit():
            seconds = float(value)
            seconds = seconds / 1_000 if seconds > 1e11 else seconds
            return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
        moment = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).isoformat()
    return None


KEY_SOURCES: dict[str, Callable[[argparse.Namespace], list[GatewayKey]]] = {
    "apisix": keys_of_apisix,
    "csv": keys_of_csv,
    "express-gateway": keys_of_express_gateway,
    "haproxy": keys_of_haproxy,
    "kong": keys_of_kong,
    "nginx": keys_of_nginx,
}


def send_keys(options: argparse.Namespace, stopping: threading.Event) -> int:
    """Send the list of keys that a gateway lets in, and say how many they are."""
    try:
        keys = KEY_SOURCES[options.source](options)
    except (KeyError, TypeError, AttributeError, ValueError):
        # Whatever it is, its text may hold keys.
        message = f"{options.source}'s answer or file has another shape than expected."
        raise AgentError(message) from None
    enabled = sum(key.is_enabled for key in keys)
    said = f"{len(keys):,} keys, {enabled:,} of them enabled"
    if options.dry_run:
        sys.stdout.write(f"{said}. Nothing was sent.\n")
        return 0
    if not keys:
        message = "No key was found. Nothing was sent."
        raise AgentError(message)
    state = State(options.state, options.host)
    with closing(Product(options.url)) as product, state.locked("keys"):
        courier = Courier(product, options.token_file, Warnings(), stopping, gives_up=True)
        rejected = InventorySender(courier).send(options.source, keys)
    sys.stdout.write(f"{said}, were sent.\n")
    for message, count in rejected.items():
        sys.stdout.write(f"{count:,} were rejected: {message}\n")
    return 1 if rejected else 0


class InventorySender:
    """Sends a list of keys in pages. revcred uses it once it has all of them."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    def send(self, source: str, keys: Sequence[GatewayKey]) -> dict[str, int]:
        """Return how many keys were rejected, by reason. Raises Stopped, AgentError."""
        begun = self._post({"step": "begin", "read_from": source})
        inventory, pages, rejected = begun.get("inventory"), 0, Counter[str]()
        for pages, page in enumerate(_pages_of_keys(keys), 1):
            posted = [key.posted() for key in page]
            step = {"step": "page", "inventory": inventory, "page": pages - 1, "keys": posted}
            rejected.update(each["message"] for each in self._post(step).get("rejected", []))
        self._post({"step": "end", "inventory": inventory, "pages": pages})
        return rejected

    def _post(self, step: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        body = gzip.compress(json.dumps(step).encode(), 1)
        answer = self._courier.post(INVENTORY_ADDRESS, body, headers, INVENTORY_STATUSES)
        if answer.status != http.client.OK:
            # revcred's messages quote no keys.
            said = answer.data.get("message") or f"It answers {answer.status}."
            message = f"revcred did not take the list of keys: {said}"
            raise AgentError(message)
        return answer.data


INVENTORY_STATUSES = {200, 400, 404, 409, 413, 415}


def _pages_of_keys(keys: Sequence[GatewayKey]) -> Iterator[list[GatewayKey]]:
    page: list[GatewayKey] = []
    characters = 0
    for key in keys:
        page.append(key)
        characters += len(key.text) + len(key.label)
        if len(page) >= MAX_KEYS_PER_PAGE or characters >= MAX_KEY_CHARACTERS_PER_PAGE:
            yield page
            page, characters = [], 0
    if page:
        yield page


# --- Digests of valid keys for a gateway ----------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """The digests of keys that are valid, each with the credential's public id and its end."""

    valid: dict[str, tuple[str, str]]  # by digest: public id, moment or ""
    cursor: str


class SnapshotReader:
    """Reads which keys are valid: all of them at first and each hour, then what changed."""

    def __init__(
        self, product: Product, token_file: Path, stopping: threading.Event, warnings: Warnings
    ) -> None:
        self._product = product
        self._courier = Courier(product, token_file, warnings, stopping, gives_up=True)
        self._snapshot: Snapshot | None = None
        self.complete_at = 0.0

    def read(self) -> dict[str, str]:
        """Return the public ids of keys that are valid now, by digest.

        Raises Stopped, AgentError.
        """
        is_due = time.monotonic() - self.complete_at > COMPLETE_READ_SECONDS
        known = None if is_due else self._snapshot
        self._snapshot = self._read_pages(known)
        now = datetime.now(timezone.utc)
        return {
            digest: credential
            for digest, (credential, until) in self._snapshot.valid.items()
            if not until or datetime.fromisoformat(until) > now
        }

    def _read_pages(self, known: Snapshot | None) -> Snapshot:
        valid = dict(known.valid) if known else {}
        cursor, is_first = known.cursor if known else "", True
        while True:
            rows, end = self._page(cursor)
            if end["complete"] and is_first:
                valid.clear()
                self.complete_at = time.monotonic()
            is_first = False
            for row in rows:
                valid.pop(row["digest"], None)
                if row["state"] == "active":
                    until = (row.get("until") or "").replace("Z", "+00:00")
                    valid[row["digest"]] = row["credential"], until
            cursor = end["cursor"]
            if not end["more"]:
                return Snapshot(valid, cursor)

    def _page(self, cursor: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the rows of a page, and its last line. Raises Stopped, AgentError."""
        query = f"?since={urllib.parse.quote(cursor)}" if cursor else ""
        answer = self._courier.get(self._product, SNAPSHOT_ADDRESS + query, SNAPSHOT_STATUSES)
        if answer.status != http.client.OK:
            said = answer.data.get("message") or f"It answers {answer.status}."
            message = f"revcred gives no digests: {said}"
            raise AgentError(message)
        try:
            lines = [json.loads(line) for line in answer.body.splitlines()]
            end = {name: lines[-1][name] for name in ("cursor", "more", "complete")}
            rows = [
                {**row, "digest": _checked(DIGEST, row["digest"]), "credential": _public_id(row)}
                for row in lines[:-1]
            ]
        except (ValueError, KeyError, TypeError, IndexError):
            message = "revcred's answer was cut, or is none of digests. Nothing was changed."
            raise AgentError(message) from None
        return rows, end


DIGEST = re.compile(r"[0-9a-f]{64}")
PUBLIC_ID = re.compile(r"cred_[0-9a-f]{32}")


def _checked(pattern: re.Pattern[str], text: str) -> str:
    """Return a text that goes into a gateway's configuration. Raises ValueError."""
    if not pattern.fullmatch(text):
        raise ValueError
    return text


def _public_id(row: Mapping[str, Any]) -> str:
    return _checked(PUBLIC_ID, row["credential"]) if row["state"] == "active" else ""


@dataclass(frozen=True)
class SyncPlan:
    """The changes after which a gateway lets in valid keys, and no other of revcred's."""

    ours: dict[str, str]  # all that has to be there in the end
    added: dict[str, str]
    changed: dict[str, str]
    removed: list[str]
    foreign: int  # entries that revcred did not put there

    @classmethod
    def between(
        cls, present: Mapping[str, str], own: set[str], wanted: Mapping[str, str]
    ) -> SyncPlan:
        """Return the plan. `own`: digests that were put there by revcred."""
        # What is there exactly as wanted may have been put there before the state was lost.
        ours = {
            digest: value
            for digest, value in wanted.items()
            if digest in own or present.get(digest, value) == value
        }
        removed = sorted(digest for digest in own - ours.keys() if digest in present)
        return cls(
            ours=ours,
            added={digest: value for digest, value in ours.items() if digest not in present},
            changed={
                digest: value
                for digest, value in ours.items()
                if present.get(digest, value) != value
            },
            removed=removed,
            foreign=len(present.keys() - ours.keys() - own),
        )

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)

    @property
    def unchanged(self) -> int:
        return len(self.ours) - len(self.added) - len(self.changed)

    def check(self, most_percent: float) -> None:
        """Raise AgentError if it takes away or changes too much at once."""
        count = len(self.removed) + len(self.changed)
        total = count + self.unchanged
        if count > FEW_ENTRIES and count > total * most_percent / 100:
            message = (
                f"It would take away or change {count:,} of {total:,} entries, more than"
                f" {most_percent:g} %. Nothing was changed. If that is meant, say --most 100."
            )
            raise AgentError(message)

    def __str__(self) -> str:
        return (
            f"{len(self.added):,} to add, {len(self.changed):,} to change,"
            f" {len(self.removed):,} to take away, {self.unchanged:,} as they are."
            f" {self.foreign:,} others are not revcred's and stay."
        )


class SyncTarget(ABC):
    """A file of a gateway with a line for each digest, and what puts it in force."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def present(self) -> dict[str, str]:
        """Return the values that are in force, by key. Raises AgentError."""
        return self.entries_of_file()

    def entries_of_file(self) -> dict[str, str]:
        return {pair[0]: pair[1] for line in self._lines() if (pair := self.pair_in(line))}

    @abstractmethod
    def pair_in(self, line: str) -> tuple[str, str] | None:
        """Return the key and value of a line, or None if it has none."""

    @abstractmethod
    def line_of(self, key: str, value: str) -> str:
        """Return the line of an entry."""

    @abstractmethod
    def put_in_force(self, plan: SyncPlan) -> None:
        """Let the gateway know. The file is written already. Raises AgentError."""

    def write(self, ours: Mapping[str, str], gone: set[str]) -> None:
        """Write the file. Lines that revcred did not put there stay as they are, at their place."""
        missing, lines = dict(ours), []
        for line in self._lines():
            pair = self.pair_in(line)
            key = pair[0] if pair else ""
            if key in missing:
                lines.append(self.line_of(key, missing.pop(key)))
            elif key not in gone and key not in ours:
                lines.append(line)
        lines += [self.line_of(key, value) for key, value in missing.items()]
        try:
            mode = self.path.stat().st_mode if self.path.exists() else 0o640
            write_safely(self.path, "".join(f"{line}\n" for line in lines), mode & 0o777)
        except OSError as error:
            message = f"{self.path} cannot be written: {error.strerror}."
            raise AgentError(message) from error

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            message = f"{self.path} cannot be read: {type(error).__name__}."
            raise AgentError(message) from None


class HaproxyMap(SyncTarget):
    """A map of HAProxy: its file, and with a socket the map as it is in force."""

    def __init__(self, path: Path, socket_path: str | None) -> None:
        super().__init__(path)
        self._socket_path = socket_path

    def present(self) -> dict[str, str]:
        if not self._socket_path:
            return self.entries_of_file()
        return dict(haproxy_entries(str(self.path), self._socket_path))

    def pair_in(self, line: str) -> tuple[str, str] | None:
        key, _, value = line.strip().partition(" ")
        return (key, value.strip()) if key and not key.startswith("#") else None

    def line_of(self, key: str, value: str) -> str:
        return f"{key} {value}"

    def put_in_force(self, plan: SyncPlan) -> None:
        if not self._socket_path:
            return
        # What is taken away first: it matters most.
        commands = [f"del map {self.path} {digest}" for digest in plan.removed]
        commands += [f"set map {self.path} {key} {value}" for key, value in plan.changed.items()]
        commands += [f"add map {self.path} {key} {value}" for key, value in plan.added.items()]
        size = 0
        batch: list[str] = []
        for command in commands:
            if size + len(command) > MAX_HAPROXY_COMMAND_BYTES:
                self._command(batch)
                size, batch = 0, []
            batch.append(command)
            size += len(command) + 1
        if batch:
            self._command(batch)

    def _command(self, batch: Sequence[str]) -> None:
        answer = ask_haproxy(str(self._socket_path), ";".join(batch)).strip()
        if answer:
            message = f"HAProxy answers: {answer.splitlines()[0][:200]}"
            raise AgentError(message)


class NginxMap(SyncTarget):
    """A file that a `map` of nginx includes. nginx reads it when it is told to reload."""

    def __init__(self, path: Path, reload_command: str | None) -> None:
        super().__init__(path)
        self._reload_command = reload_command

    def pair_in(self, line: str) -> tuple[str, str] | None:
        return nginx_pair(line.strip())

    def line_of(self, key: str, value: str) -> str:
        return f'"{key}" "{value}";'

    def put_in_force(self, plan: SyncPlan) -> None:
        if not self._reload_command:
            return
        try:
            subprocess.run(  # noqa: S603 - what the operator wrote on the command line
                shlex.split(self._reload_command), check=True, timeout=ADMIN_TIMEOUT_SECONDS
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            message = f"“{self._reload_command}” failed: {type(error).__name__}."
            raise AgentError(message) from None


SYNC_TARGETS: dict[str, Callable[[argparse.Namespace], SyncTarget]] = {
    "haproxy": lambda options: HaproxyMap(options.map, options.socket),
    "nginx": lambda options: NginxMap(options.map, options.reload),
}


class OwnEntries:
    """The digests that revcred put into a file, by which nothing else is ever taken away."""

    def __init__(self, state: State, path: Path) -> None:
        name = _digest(os.path.abspath(path).encode())
        self._path = state.directory / f"sync-{name}.digests"

    def read(self) -> set[str]:
        try:
            return set(self._path.read_text(encoding="utf-8").split())
        except FileNotFoundError:
            return set()
        except OSError as error:
            message = f"{self._path} cannot be read: {error.strerror}."
            raise AgentError(message) from error

    def write(self, digests: Iterable[str]) -> None:
        try:
            write_safely(self._path, "\n".join(sorted(digests)))
        except OSError as error:
            message = f"{self._path} cannot be written: {error.strerror}."
            raise AgentError(message) from error


class KeySync:
    """Brings a gateway's map to what revcred says.

    It remembers what is in force, until something fails.
    """

    def __init__(self, reader: SnapshotReader, target: SyncTarget, own: OwnEntries) -> None:
        self._reader = reader
        self._target = target
        self._own_entries = own
        self._present: dict[str, str] | None = None  # not known: has to be looked at
        self._own: set[str] = set()
        self._looked_at = 0.0

    def plan(self) -> SyncPlan:
        """Return what has to be done. Raises Stopped, AgentError."""
        wanted = self._reader.read()
        if self._present is None or self._looked_at < self._reader.complete_at:
            self._present, self._own = self._target.present(), self._own_entries.read()
            self._looked_at = time.monotonic()
        return SyncPlan.between(self._present, self._own, wanted)

    def apply(self, plan: SyncPlan) -> None:
        """Do it. Raises AgentError: some of it may be done, and the next plan has the rest."""
        present, self._present = self._present or {}, None
        gone = self._own - plan.ours.keys()
        # On record first: what is put there and not known to be revcred's would stay for ever.
        self._own_entries.write({*self._own, *plan.ours})
        self._target.write(plan.ours, gone)
        self._target.put_in_force(plan)
        self._own_entries.write(plan.ours)
        removed = {*plan.removed}
        kept = {key: value for key, value in present.items() if key not in removed}
        self._present, self._own = {**kept, **plan.ours}, {*plan.ours}
        self._looked_at = time.monotonic()

    def is_on_record(self, plan: SyncPlan) -> bool:
        """Return True if the file and the record are as the plan wants them, too."""
        return self._own == plan.ours.keys() and (
            self._target.entries_of_file().items() >= plan.ours.items()
        )


def sync_keys(options: argparse.Namespace, stopping: threading.Event) -> int:
    """Let a gateway know the digests of valid keys, once or again and again."""
    state = State(options.state, options.host)
    target = SYNC_TARGETS[options.target](options)
    warnings = Warnings()
    name = f"sync-{_digest(os.path.abspath(target.path).encode())}"
    with closing(Product(options.url)) as product, state.locked(name):
        reader = SnapshotReader(product, options.token_file, stopping, warnings)
        sync = KeySync(reader, target, OwnEntries(state, target.path))
        if not options.apply:
            sys.stdout.write(f"{sync.plan()}\nNothing was changed: say --apply.\n")
            return 0
        is_first = True
        while True:
            try:
                is_first = _apply_if_needed(sync, options.most, is_first=is_first)
            except AgentError as error:
                if not options.every:
                    raise
                # What is in force stays, until somebody has mended it.
                warnings.warn(str(error)[:40], f"{error} Trying again.")
            except Stopped:
                return 0
            if not options.every or stopping.wait(options.every):
                return 0


def _apply_if_needed(sync: KeySync, most_percent: float, *, is_first: bool) -> bool:
    """Return False: from now on only what changes is told."""
    plan = sync.plan()
    if plan.is_empty and (not is_first or sync.is_on_record(plan)):
        if is_first:
            sys.stdout.write(f"{plan}\n")
        return False
    plan.check(most_percent)
    sync.apply(plan)
    sys.stdout.write(f"{plan}\nDone.\n")
    sys.stdout.flush()
    return False


# --- What people ask ------------------------------------------------------------------------------


def try_file(options: argparse.Namespace, stopping: threading.Event) -> int:
    """Show what would be sent of the first lines of a file."""
    path = options.file
    try:
        with open(path, "rb") as file:
            reader = reader_of(file)
            head = reader.head()
            line = first_line(head)
            if line is None:
                message = f"{path} has no whole line yet."
                raise AgentError(message)
            log = Log(log_name(options.host or socket.gethostname(), line, 0), path=path)
            parcel = Parcel()
            LogFile(path, file, reader, log, os.fstat(file.fileno())).fill(parcel, HEAD_BYTES)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}."
        raise AgentError(message) from error
    for each in parcel.lines[:TRY_LINES]:
        sys.stdout.write(each.posted.decode())
    return 0


def status(options: argparse.Namespace, stopping: threading.Event) -> int:
    """Say how far it is, what waits and what was rejected. 1: something waits for minutes."""
    state = State(options.state, options.host)
    data = status_data(state)
    if options.json:
        sys.stdout.write(json.dumps(data, indent=1) + "\n")
    else:
        sys.stdout.write(_as_text(data))
    return 1 if data["lag_seconds"] > LAG_WARNING_SECONDS else 0


def status_data(state: State) -> dict[str, Any]:
    """Return what `status` says."""
    path = state.directory / "follow.json"
    patterns = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    with closing(Tracker(patterns, state, Warnings())) as tracker:
        tracker.scan()
        files = [
            {
                "path": file.path,
                "bytes": file.stat.st_size,
                "unread_bytes": file.unread_bytes,
                "taken_at": file.log.taken_at,
            }
            for file in tracker.files
        ]
    spool, notes = state.directory / "spool", state.parked_notes()
    is_behind = any(file["unread_bytes"] for file in files)
    return {
        "host": state.host,
        "follows": state.is_running("follow"),
        "listens": state.is_running("listen"),
        "files": files,
        "lag_seconds": time.time() - state.caught_up_at() if is_behind else 0.0,
        "spool_bytes": size_of_files(spool.rglob("*.spool")),
        "aside_bytes": size_of_files(spool.glob("aside/*/*.spool")),
        "parked": len(notes),
        "latest_parked": notes[-10:],
    }


def _as_text(data: Mapping[str, Any]) -> str:
    running = "runs" if data["follows"] else "does not run"
    lines = [f"follow {running}. Files are known by the host {data['host']}."]
    for file in data["files"]:
        unread = file["unread_bytes"]
        said = f"{unread:,} of {file['bytes']:,} bytes wait" if unread else "all sent"
        lines.append(f"  {file['path']}: {said}")
    if data["lag_seconds"] > POLL_SECONDS:
        lines.append(f"Lines have waited for {data['lag_seconds']:.0f} s.")
    if data["listens"] or data["spool_bytes"]:
        running = "runs" if data["listens"] else "does not run"
        lines.append(f"listen {running}. {data['spool_bytes']:,} bytes are in the spool.")
    if data["aside_bytes"]:
        text = "were refused for their token or address, and are tried again"
        lines.append(f"{data['aside_bytes']:,} bytes of them {text}.")
    lines.append(
        f"{data['parked']:,} rejected lines are noted."
        if data["parked"]
        else "No line was rejected."
    )
    for note in data["latest_parked"]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(note["at"]))
        place = f"{note['path']} at byte {note['offset']:,}" if "offset" in note else note["path"]
        reason = " ".join(str(note[name]) for name in ("code", "field", "message") if name in note)
        lines.append(f"  {when}  {place}: {reason}")
    if any("offset" in note for note in data["latest_parked"]):
        lines.append("See such a line: tail -c +$((BYTE + 1)) FILE | head -n 1")
    return "\n".join(lines) + "\n"


def default_state() -> Path:
    """Return the directory that systemd made, or the usual one of the system or the user."""
    given = os.environ.get("REVCRED_AGENT_STATE") or os.environ.get("STATE_DIRECTORY", "")
    if given:
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/revcred-agent")
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "revcred-agent"


def default_token_file() -> Path | None:
    given = os.environ.get("REVCRED_TOKEN_FILE")
    if given:
        return Path(given)
    # systemd's LoadCredential=token:…
    passed = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(passed) / "token" if passed else None


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument(
        "--state",
        type=Path,
        default=default_state(),
        help="directory of the positions (%(default)s)",
    )
    common.add_argument(
        "--host",
        default=os.environ.get("REVCRED_AGENT_HOST", ""),
        help="name by which files of this host are told apart from others' (the host's own)",
    )
    sending = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    sending.add_argument(
        "--url",
        default=os.environ.get("REVCRED_URL", ""),
        help="where revcred is, such as https://revcred.example.com (REVCRED_URL)",
    )
    sending.add_argument(
        "--token-file",
        type=Path,
        default=default_token_file(),
        help="file with the gateway's token (REVCRED_TOKEN_FILE)",
    )
    told = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,
    )
    told.add_argument("--version", action="version", version=f"revcred-agent {VERSION}")
    commands = told.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Command, help_text: str, *parents: argparse.ArgumentParser) -> Any:
        # Without abbreviations: “--token hak_…” must not be taken for a file, and be told of.
        added = commands.add_parser(
            name, help=help_text, parents=[common, *parents], allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    followed = add("follow", follow, "send what is written to files, live", sending)
    followed.add_argument(
        "files", nargs="+", metavar="GLOB", help="in quotes: '/var/log/x/calls.log*'"
    )
    imported = add("import", import_files, "send files that are complete", sending)
    imported.add_argument("files", nargs="+", metavar="FILE")
    imported.add_argument(
        "--again", action="store_true", help="also what was sent before: nothing is counted twice"
    )
    heard = add("listen", listen, "keep what a gateway posts, and pass it on", sending)
    heard.add_argument("--address", default="127.0.0.1:8125", help="(%(default)s)")
    heard.add_argument(
        "--spool",
        type=int,
        default=DEFAULT_SPOOL_MEGABYTES,
        metavar="MB",
        help="how much may wait on the disk (%(default)s)",
    )
    tried = add("try", try_file, "show what would be sent of a file's first lines", sending)
    tried.add_argument("file", metavar="FILE")
    listed = add("keys", send_keys, "send the list of keys that a gateway lets in", sending)
    listed.add_argument(
        "source", choices=sorted(KEY_SOURCES), metavar="SOURCE", help=KEY_SOURCE_HELP
    )
    listed.add_argument("place", metavar="FROM", help="its file, map or admin address")
    listed.add_argument(
        "--socket", metavar="PATH", help="HAProxy's runtime API: ask it for the map"
    )
    listed.add_argument(
        "--digests",
        action="store_true",
        help="the map holds digests, as “revcred-agent sync” writes them",
    )
    listed.add_argument(
        "--header-file",
        type=Path,
        metavar="FILE",
        help="file with a header for the admin address, such as “X-API-KEY: …”",
    )
    listed.add_argument("--dry-run", action="store_true", help="only say how many keys there are")
    synced = add("sync", sync_keys, "let a gateway know the digests of valid keys", sending)
    synced.add_argument(
        "target", choices=sorted(SYNC_TARGETS), metavar="TARGET", help=SYNC_TARGET_HELP
    )
    synced.add_argument("map", type=Path, metavar="MAP", help="file of the map")
    synced.add_argument("--socket", metavar="PATH", help="HAProxy's runtime API: in force at once")
    synced.add_argument(
        "--reload", metavar="COMMAND", help="lets nginx read the map, such as 'nginx -s reload'"
    )
    synced.add_argument(
        "--apply", action="store_true", help="do what the plan says, instead of showing it"
    )
    synced.add_argument(
        "--every", type=float, metavar="SECONDS", help="go on and look again, with --apply"
    )
    synced.add_argument(
        "--most",
        type=float,
        default=DEFAULT_MOST_PERCENT,
        metavar="PERCENT",
        help="take away or change no more at once (%(default)g)",
    )
    asked = add("status", status, "say how far it is, what waits, what was rejected")
    asked.add_argument("--json", action="store_true")
    return told


SYNC_TARGET_HELP = ", ".join(sorted(SYNC_TARGETS))
KEY_SOURCE_HELP = ", ".join(sorted(KEY_SOURCES))
Command = Callable[[argparse.Namespace, threading.Event], int]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="revcred-agent: %(message)s")
    stopping, options.restart = threading.Event(), threading.Event()

    def stop(number: int, _: Any) -> None:
        if number == signal.SIGHUP and not stopping.is_set():
            options.restart.set()
        elif number != signal.SIGHUP:
            options.restart.clear()  # also if it was about to become a new process
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        _check(options)
        return int(options.run(options, stopping))
    except AgentError as error:
        sys.stderr.write(f"revcred-agent: {error}\n")
        return 2


def _check(options: argparse.Namespace) -> None:
    """Raise AgentError where an address or a token is missing."""
    if getattr(options, "dry_run", False):
        return
    if options.command in {"follow", "import", "listen", "keys", "sync"} and not options.url:
        message = "Say where revcred is: --url https://revcred.example.com, or REVCRED_URL."
        raise AgentError(message)
    if options.command in {"follow", "import", "keys", "sync"} and not options.token_file:
        message = "Name the file with the gateway's token: --token-file, or REVCRED_TOKEN_FILE."
        raise AgentError(message)


if __name__ == "__main__":
    sys.exit(main())
