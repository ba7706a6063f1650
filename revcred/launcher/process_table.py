"""Look-ups of running processes. A pid alone is not enough: the system uses pids again."""

from pathlib import Path

import psutil

# A process start is computed from the boot time, which moves a little when the clock is set.
START_TOLERANCE_SECONDS = 2.0


def process_start(pid: int) -> float | None:
    """Return when the process began, in seconds since the epoch; None if it does not run."""
    try:
        process = psutil.Process(pid)
        # A zombie has ended; only its parent has not looked yet.
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def is_same_process(pid: int, start: float | None) -> bool:
    """Return whether the process of this pid is still the one that began at `start`."""
    now = process_start(pid)
    return now is not None and start is not None and abs(now - start) < START_TOLERANCE_SECONDS


def postgres_pids_on(data: Path) -> set[int]:
    """Return the PostgreSQL processes that work in a data directory.

    Each of them has the directory as its current one.
    """
    named = (each for each in psutil.process_iter(["name"]) if each.info["name"] == "postgres")
    return {each.pid for each in named if _working_directory(each) == str(data)}


def _working_directory(process: psutil.Process) -> str | None:
    try:
        return process.cwd()
    except psutil.Error:  # it has ended meanwhile, or is somebody else's
        return None
