"""CPU seconds and memory of each process with all it started, from /proc."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from revcred.launcher.processes import ChildProcess

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")
PPID, UTIME, END = 1, 11, 15  # in /proc/PID/stat, after the name in brackets


def seconds(children: Mapping[str, ChildProcess]) -> dict[str, float]:
    """By name. What ended meanwhile is in its parent's account, so that nothing is missing."""
    spent, offspring = _table()
    return {
        name: sum(spent[pid] for pid in _family(child.process.pid, offspring))
        for name, child in children.items()
    }


def memory(child: ChildProcess) -> tuple[int, int]:
    """PSS and RSS in kilobytes, of it and all it started. What they share is in RSS each time."""
    _, offspring = _table()
    rolled = [_rolled_up(pid) for pid in _family(child.process.pid, offspring)]
    return sum(each.get("Pss", 0) for each in rolled), sum(each.get("Rss", 0) for each in rolled)


def of_machine() -> tuple[float, float]:
    """How long its cores were busy, and how long in all: with what others do on it, too."""
    user, nice, system, idle, iowait, *interrupts = map(
        int, (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    busy = user + nice + system + sum(interrupts)
    return busy * TICK, (busy + idle + iowait) * TICK


def _table() -> tuple[dict[int, float], dict[int, list[int]]]:
    spent: dict[int, float] = defaultdict(float)
    offspring: dict[int, list[int]] = defaultdict(list)
    for directory in PROC.iterdir():
        if directory.name.isdigit() and (fields := _stat(directory)):
            pid = int(directory.name)
            spent[pid] = sum(map(int, fields[UTIME:END])) * TICK
            offspring[int(fields[PPID])].append(pid)
    return spent, offspring


def _stat(directory: Path) -> list[str]:
    try:
        text = (directory / "stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def _rolled_up(pid: int) -> dict[str, int]:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name.rstrip(":"): int(kilobytes) for name, kilobytes, _ in map(str.split, lines)}


def _family(pid: int, offspring: Mapping[int, list[int]]) -> list[int]:
    # PostgreSQL's backends have sessions of their own, so that only parents tell them.
    return [pid, *(each for child in offspring.get(pid, ()) for each in _family(child, offspring))]
