"""Who is running. A process is known by its pid and its start: pids are used again."""

import os
import subprocess
from pathlib import Path

PROC = Path("/proc")
BOOT = PROC / "sys/kernel/random/boot_id"


def has_proc() -> bool:
    return (PROC / "self/stat").exists()


def started(pid: int) -> str | None:
    """When the process began, in whatever form tells it from any other; None if there is none."""
    if not has_proc():
        return _ps(pid, "lstart=")
    state = _stat(pid)
    # A zombie has ended; only its parent has not looked yet.
    if not state or state[0] in "ZX":
        return None
    return f"{BOOT.read_text().strip()}/{state[19]}"


def servers_on(data: Path, pid_in_file: int | None) -> set[int]:
    """The PostgreSQL processes at work on a data directory: each has it as its current one."""
    if has_proc():
        pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
        return {pid for pid in pids if _works_on(pid, data)}
    command = _ps(pid_in_file, "command=") if pid_in_file else None
    return {pid_in_file} if pid_in_file and command and str(data) in command else set()


def _works_on(pid: int, data: Path) -> bool:
    try:
        here = (PROC / f"{pid}/cwd").readlink() == data
        return here and (PROC / f"{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    try:
        text = (PROC / f"{pid}/stat").read_text()
    except OSError:
        return []
    # The second field is the name in brackets, which may itself hold blanks and brackets.
    return text[text.rindex(")") + 2 :].split()


def _ps(pid: int, column: str) -> str | None:
    command = ["ps", "-o", column, "-p", str(pid)]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip() or None
