"""A disk that fills up: the stores on a small file system of their own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.faults.kinds import DISK_FULL
from bench.faults.run import Outcome, Plan, run_in
from revcred.launcher.temporary import temporary_directory

SIZE = "400m"
SETTINGS = {"min_wal_size": "32MB", "max_wal_size": "64MB"}
FAULTS = 3


class NoSmallDiskError(Exception):
    """None can be mounted here."""


def run_on_small_disk(seed: int, faults: int = FAULTS) -> Outcome:
    """Raises NoSmallDiskError."""
    with _small_disk() as directory:
        return run_in(
            directory, Plan(seed=seed, faults=faults, kinds=[DISK_FULL], settings=SETTINGS)
        )


@contextmanager
def _small_disk() -> Iterator[Path]:
    with temporary_directory() as parent:
        place = parent / "disk"
        place.mkdir()
        _call("mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=711", "none", str(place))
        try:
            yield place
        finally:
            _call("umount", str(place))


def _call(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - constants
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoSmallDiskError from error
