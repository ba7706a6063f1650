"""`make bench-agent`: how fast the agent imports a log, its cost, and that each line counts once.

The log is written, imported into a whole installation, and imported again with the agent's state
thrown away. Its lines have no ids of their own, so that each is known by its place alone.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import traffic
from bench.machine import describe
from bench.stack import Bench, a_bench, arguments, say
from metering.agent import revcred_agent
from revcred.launcher.temporary import temporary_directory

LINES = 1_000_000
CREDENTIALS = 10_000
MAX_IMPORT_SECONDS_PER_MILLION = 90.0
MAX_AGENT_MICROSECONDS_PER_LINE = 40.0


@dataclass(frozen=True, kw_only=True)
class Import:
    """One run of the agent."""

    seconds: float  # until each line was answered
    agent_cpu: float  # seconds
    counted_seconds: float  # until each line was counted
    calls: int  # in the ledger and the quarantine afterwards


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--lines", type=int, default=LINES)
    options = parser.parse_args()
    load_average = os.getloadavg()
    with temporary_directory() as directory, a_bench(options.credentials) as bench:
        machine = describe(bench, load_average)
        say(f"{machine.cores} cores, load average {load_average[0]:.1f}, {machine.model}")
        log = directory / "calls.log"
        with log.open("w") as file:
            file.writelines(_lines(options.lines, bench.credentials))
        say(f"{options.lines:,} lines, {log.stat().st_size / options.lines:.0f} bytes each.")
        first = _import(bench, log, directory / "first")
        again = _import(bench, log, directory / "second")
    for name, run in (("first", first), ("again", again)):
        say(
            f"{name}: {run.seconds:.1f} s to import, {run.counted_seconds:.1f} s until all was "
            f"counted; the agent's CPU {1e6 * run.agent_cpu / options.lines:.1f} µs a line; "
            f"{run.calls:,} calls"
        )
    return 0 if _is_good(first, again, options.lines) else 1


def _is_good(first: Import, again: Import, lines: int) -> bool:
    return (
        first.calls == again.calls == lines
        and first.seconds <= MAX_IMPORT_SECONDS_PER_MILLION * lines / LINES
        and 1e6 * first.agent_cpu / lines <= MAX_AGENT_MICROSECONDS_PER_LINE
    )


def _lines(count: int, credentials: int) -> Iterator[str]:
    """Yield lines as a gateway logs them, in revcred's names."""
    for number in range(count):
        line = {
            "occurred_at": datetime.now(UTC).isoformat(),
            "key": traffic.key(number % credentials),
            "method": "GET",
            "path": f"/v1/tiles/{number % 1_000}/{number % 77}.png",
            "status": 200,
            "response_bytes": 12_000 + number % 5_000,
            "latency_ms": number % 90,
        }
        yield json.dumps(line) + "\n"


def _import(bench: Bench, log: Path, directory: Path) -> Import:
    directory.mkdir()
    token = directory / "token"
    token.write_text(bench.token)
    token.chmod(0o600)
    before, began = _cpu_of_children(), time.monotonic()
    subprocess.run(  # noqa: S603 - the agent
        [
            *(sys.executable, revcred_agent.__file__, "import", str(log)),
            *("--url", bench.url, "--token-file", str(token)),
            *("--state", str(directory / "state"), "--host", "bench"),
        ],
        check=True,
    )
    seconds, spent = time.monotonic() - began, _cpu_of_children() - before
    bench.wait_until_processed()
    return Import(
        seconds=seconds,
        agent_cpu=spent,
        counted_seconds=time.monotonic() - began,
        calls=sum(
            int(bench.ask(f"SELECT count(*) FROM {table}"))  # noqa: S608 - two constants
            for table in ("metering_transaction", "metering_quarantined")
        ),
    )


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
