"""A block device with a volatile write cache, whose power can be cut.

It is a single file, served through FUSE, of which a loop device makes a disk. So a real file system
with a real journal lies on it, and what the kernel flushes is what survives.
"""

import ctypes
import errno
import os
import random
import select
import signal
import stat
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SECTOR_BYTES = 512  # a disk writes a sector wholly or not at all
MAX_WRITE_BYTES = 1 << 17  # of one request
PAGE_BYTES = 4096

# The protocol, as in linux/fuse.h.
REQUEST_HEADER, ANSWER_HEADER = struct.Struct("<IIQQ16x"), struct.Struct("<IiQ")
FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT, INTERRUPT = (
    *(2, 3, 4, 14, 15, 16, 18, 20, 25, 26, 36),
)
NOT_ANSWERED, NOTHING_TO_DO = (FORGET, INTERRUPT), (RELEASE, FLUSH)
PROTOCOL_VERSION = (7, 31)
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
INIT_ANSWER = struct.Struct("<IIIIHHIIHH32x")
ATTRIBUTES_ANSWER = struct.Struct("<16xQQQ36xIIIIIII")
OPEN_ANSWER, WRITE_ANSWER = struct.Struct("<16x"), struct.Struct("<II")
TRANSFER = struct.Struct("<8xQI20x")  # offset and bytes


@dataclass
class Device:
    """A disk: its platter, and the writes that a power cut would take back."""

    platter: int  # a file descriptor
    size: int  # in bytes
    unflushed: list[tuple[int, bytes]] = field(default_factory=list)  # offset, what was there
    flush_seconds: tuple[float, float] = (0.0, 0.0)
    is_on: bool = True
    chance: random.Random = field(default_factory=random.Random)

    def read(self, offset: int, count: int) -> bytes:
        return os.pread(self.platter, count, offset)

    def write(self, offset: int, data: bytes) -> None:
        self.unflushed.append((offset, self.read(offset, len(data))))
        os.pwrite(self.platter, data, offset)

    def flush(self) -> None:
        time.sleep(self.chance.uniform(*self.flush_seconds))
        self.unflushed.clear()

    def cut(self, seed: int) -> None:
        """Take back unflushed sectors: all of them, or those that chance chooses.

        A disk may have written any of them, in any order.
        """
        chance = random.Random(seed)  # noqa: S311 - the same cut for the same seed
        taken_back = chance.choice((1.0, chance.random()))
        for offset, data in reversed(self.unflushed):
            for start in range(0, len(data), SECTOR_BYTES):
                if chance.random() < taken_back:
                    os.pwrite(self.platter, data[start : start + SECTOR_BYTES], offset + start)
        self.unflushed.clear()
        self.is_on = False

    def switch_on(self) -> None:
        self.is_on = True

    def slow_down(self, least: float, most: float, seed: int) -> None:
        """Let each flush last so many seconds."""
        self.flush_seconds = least, most
        self.chance.seed(seed)


def serve(mount_point: Path, platter: Path, pipe: "Connection[Any, Any]") -> None:
    """Serve the device at the file `mount_point`, and obey what comes through the pipe.

    A command is the name of a method and its arguments; its answer is None once it is done. The
    pipe just ends where FUSE is not possible.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends after those who write to it
    try:
        fuse = open_fuse(mount_point)
        # A disk waits for no processor.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        return
    with platter.open("r+b", buffering=0) as file, fuse:
        device = Device(file.fileno(), platter.stat().st_size)
        pipe.send(None)
        while True:
            ready, _, _ = select.select((fuse, pipe), (), ())
            if pipe in ready:
                name, *arguments = pipe.recv()
                getattr(device, name)(*arguments)
                pipe.send(None)
            elif not answer_next(device, fuse.fileno()):
                return


def answer_next(device: Device, fuse: int) -> bool:
    """Answer one request; return False once the device is unmounted."""
    try:
        request = os.read(fuse, MAX_WRITE_BYTES + PAGE_BYTES)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise
    answer(device, fuse, request)
    return True


def open_fuse(mount_point: Path) -> Any:
    """Mount FUSE over a file. Raises OSError where that is not possible."""
    fuse = Path("/dev/fuse").open("r+b", buffering=0)  # noqa: SIM115 - given to the caller
    options = f"fd={fuse.fileno()},rootmode={stat.S_IFREG:o},user_id=0,group_id=0"
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"revcred", bytes(mount_point), b"fuse", 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fuse


def answer(device: Device, fuse: int, request: bytes) -> None:
    _, operation, number, _ = REQUEST_HEADER.unpack_from(request)
    if operation in NOT_ANSWERED:
        return
    data, error = b"", 0
    if operation in NOTHING_TO_DO:
        pass
    elif operation not in ANSWERS:
        error = errno.ENOSYS
    elif operation in NEEDS_POWER and not device.is_on:
        error = errno.EIO
    else:
        data = ANSWERS[operation](device, request[REQUEST_HEADER.size :])
    length = ANSWER_HEADER.size + len(data)
    os.writev(fuse, (ANSWER_HEADER.pack(length, -error, number), data))


def _begin(device: Device, request: bytes) -> bytes:
    flags, background, granularity = BIG_WRITES | MAX_PAGES, (16, 12), 1
    return INIT_ANSWER.pack(
        *(*PROTOCOL_VERSION, MAX_WRITE_BYTES, flags, *background),
        *(MAX_WRITE_BYTES, granularity, MAX_WRITE_BYTES // PAGE_BYTES, 0),
    )


def _attributes(device: Device, request: bytes) -> bytes:
    number, links, owner, of_device = 1, 1, (0, 0), 0
    return ATTRIBUTES_ANSWER.pack(
        *(number, device.size, device.size // SECTOR_BYTES, stat.S_IFREG | 0o600),
        *(links, *owner, of_device, PAGE_BYTES, 0),
    )


def _open(device: Device, request: bytes) -> bytes:
    return OPEN_ANSWER.pack()  # without flags: what the kernel has cached of it is forgotten


def _read(device: Device, request: bytes) -> bytes:
    return device.read(*TRANSFER.unpack_from(request))


def _write(device: Device, request: bytes) -> bytes:
    offset, count = TRANSFER.unpack_from(request)
    device.write(offset, request[TRANSFER.size :])
    return WRITE_ANSWER.pack(count, 0)


def _flush(device: Device, request: bytes) -> bytes:
    device.flush()
    return b""


ANSWERS: Mapping[int, Callable[[Device, bytes], bytes]] = {
    INIT: _begin,
    GETATTR: _attributes,
    SETATTR: _attributes,
    OPEN: _open,
    READ: _read,
    WRITE: _write,
    FSYNC: _flush,
}
NEEDS_POWER = (READ, WRITE, FSYNC)
