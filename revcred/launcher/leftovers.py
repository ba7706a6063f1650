"""What a supervisor that was killed left running. Each start writes down what it started."""

import json
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from revcred.launcher.census import started

PATIENCE = 5.0
GLANCE = 0.05


@dataclass(frozen=True)
class Running:
    """A process that leads a group, known by its pid and its start together."""

    name: str
    pid: int
    started: str | None
    farewell: int

    def lives(self) -> bool:
        return self.started is not None and started(self.pid) == self.started

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, self.farewell)
        deadline = time.monotonic() + PATIENCE
        while self.lives() and time.monotonic() < deadline:
            time.sleep(GLANCE)
        kill_group(self.pid)


def record(path: Path, running: Iterable[Running]) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps([asdict(one) for one in running], indent=1))
    draft.replace(path)


def end_leftovers(path: Path) -> list[str]:
    """Ends each recorded group that is still the one recorded, stores last. Names them."""
    left = [one for one in _recorded(path) if one.lives()]
    for one in reversed(left):
        one.end()
    path.unlink(missing_ok=True)
    return [one.name for one in left]


def kill_group(pid: int) -> None:
    # macOS answers EPERM for a group of which only zombies are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _recorded(path: Path) -> list[Running]:
    try:
        return [Running(**entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []
