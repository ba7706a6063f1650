"""What the benchmark of checks asks of the application's own code. Runs in `manage.py shell`."""

import gc
import time
from pathlib import Path

from bench.stack import say
from metering.verification.memory import RegisterMemory

STATUS = Path("/proc/self/status")


def load() -> None:
    """Load the register. Print the kilobytes before and after, and the seconds it took."""
    before, began = _resident(), time.monotonic()
    memory = RegisterMemory()
    memory.connect()
    seconds = time.monotonic() - began
    gc.collect()
    say(f"{before} {_resident()} {seconds:.2f}")


def _resident() -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])
