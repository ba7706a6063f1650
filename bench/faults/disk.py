"""A disk of PostgreSQL's own: its power can be cut, it can become slow, and full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.faults import device
from bench.stack import PROCESSES
from revcred.launcher.postgresql import data_directory, find_installation

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

DISK_BYTES = 8 << 30  # of which only what is written takes room
# Nothing is reserved for root, and nothing is written later than now.
MAKE_FILE_SYSTEM = ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard")
BALLAST, CRUMB_BYTES = "ballast", 1 << 12
FLUSH_AT_ONCE = (0.0, 0.0)  # seconds


class NoDiskError(Exception):
    """Such a disk cannot be made here."""


class Disk:
    """An ext4 file system on a block device of ours."""

    def __init__(self, mount_point: Path, device_file: Path, pipe: "Connection[Any, Any]") -> None:
        self.mount_point = mount_point
        self._device_file, self._pipe = device_file, pipe

    def mount(self) -> None:
        _call("mount", "-o", "loop", str(self._device_file), str(self.mount_point))

    def unmount(self) -> None:
        _call("umount", str(self.mount_point))

    def cut_power(self, seed: int) -> None:
        """Undo what was not flushed, and write nothing from now on.

        Whoever writes must be dead before `restore_power`.
        """
        self._command("cut", seed)

    def restore_power(self) -> None:
        self.unmount()
        self._command("switch_on")
        self.mount()

    def slow_down(self, flush_seconds: tuple[float, float], seed: int) -> None:
        self._command("slow_down", *flush_seconds, seed)

    def fill(self) -> None:
        """Take all the room there is, down to the last block."""
        with suppress(OSError), self._ballast.open("wb") as file:
            free = os.statvfs(self.mount_point)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(CRUMB_BYTES))

    def empty(self) -> None:
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.mount_point / BALLAST

    def _command(self, name: str, *arguments: object) -> None:
        self._pipe.send((name, *arguments))
        self._pipe.recv()


@contextmanager
def disk_for_postgresql(home: Path) -> Iterator[Disk]:
    """Make a disk below `home` for a data directory that is still to be made there.

    Raises NoDiskError where that is not possible: it takes root, FUSE, loop devices and mkfs.ext4.
    """
    platter, device_file, mount_point = home / "platter", home / "device", home / "disk"
    with platter.open("wb") as file:
        file.truncate(DISK_BYTES)
    device_file.touch()
    mount_point.mkdir()
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(
        target=device.serve, args=(device_file, platter, theirs), daemon=True
    )
    process.start()
    theirs.close()
    disk = Disk(mount_point, device_file, ours)
    try:
        _wait_for(ours)
        _call(*MAKE_FILE_SYSTEM, str(device_file))
        disk.mount()
        mount_point.chmod(0o711)
        data = data_directory(home, find_installation(home))
        data.symlink_to(mount_point / data.name)
        yield disk
    finally:
        for each in (mount_point, device_file):
            # After a failure somebody may still be at work in it.
            with suppress(NoDiskError):
                _call("umount", "--lazy", str(each))
        process.kill()
        process.join()


def _wait_for(pipe: "Connection[Any, Any]") -> None:
    """Raises NoDiskError if the device cannot be served: its process then ends."""
    try:
        pipe.recv()
    except EOFError as error:
        raise NoDiskError from error


def _call(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - constants
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoDiskError from error
