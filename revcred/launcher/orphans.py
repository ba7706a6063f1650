"""Processes that a killed supervisor left running, found by the file that each start writes."""

import json
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from revcred.launcher.process_table import is_same_process

ENDING_SECONDS = 5.0
ENDING_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class RunningProcess:
    """A process that leads a process group, identified by its pid and its start together."""

    name: str
    pid: int
    started: float | None  # seconds since the epoch
    stop_signal: int

    def is_running(self) -> bool:
        return is_same_process(self.pid, self.started)

    def end(self) -> None:
        """Ask the process to stop; after some seconds kill its whole group."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, self.stop_signal)
        deadline = time.monotonic() + ENDING_SECONDS
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(ENDING_POLL_SECONDS)
        kill_group(self.pid)


def write_running(path: Path, running: Iterable[RunningProcess]) -> None:
    """Replace the file at `path` by the list of these processes."""
    draft = path.with_suffix(".new")
    # Written aside and renamed: a killed launcher leaves the old list or the new one.
    draft.write_text(json.dumps([asdict(one) for one in running], indent=1))
    draft.replace(path)


def end_orphans(path: Path) -> list[str]:
    """End each recorded group that still runs, stores last, and return their names."""
    # Pids are reused, so the start time has to match as well.
    left = [one for one in _read_running(path) if one.is_running()]
    # Stores were started first, and end last.
    for one in reversed(left):
        one.end()
    path.unlink(missing_ok=True)
    return [one.name for one in left]


def kill_group(pid: int) -> None:
    """Kill the process group that `pid` leads. An ended group is no error."""
    # macOS answers EPERM for a group of which only zombies are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _read_running(path: Path) -> list[RunningProcess]:
    try:
        return [RunningProcess(**entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []
