"""Whether this code is faster than that of another commit: `python -m bench.against v0.1.0`.

Both run beside each other, each with its own benchmark, environment and stores, and are measured in
turn. Rates and CPU move with what else the machine does; the ratio within a round does not.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from bench import report, traffic
from bench.stack import PROJECT, arguments, say

BATCHES = (1, 100, 1_000)
ROUNDS, SECONDS = 5, 10.0
CREDENTIALS = 100_000
WORK_SECONDS = 0.5  # of the fixed piece of work
ANSWER = "ANSWER "  # what else the other process prints is not for us

# Runs on the code of either commit: of its benchmark only what v0.1.0 has, too.
MEASURE_ON_REQUEST = """
import json, sys
from bench.rows import Load, measure, warm_up
from bench.stack import a_bench

with a_bench(int(sys.argv[1])) as bench:
    warm_up(bench)
    print("ANSWER null", flush=True)
    for line in sys.stdin:
        row = measure(bench, Load(**json.loads(line)))
        spent = sum(cpu for name, cpu in row.cpu.items() if name != "generator")
        print("ANSWER", json.dumps({"rate": row.attributed, "cpu": spent}), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Duel:
    """One row of both in a round. Rates in transactions, CPU in microseconds each."""

    batch: int
    rate_before: float
    rate_now: float
    cpu_before: float
    cpu_now: float
    decoding: float  # microseconds that decoding one body takes here at that moment

    @property
    def ratio(self) -> float:
        return self.cpu_now / self.cpu_before


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each row")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(_checkout(options.commit))
        before = stack.enter_context(_measured(directory, options.credentials))
        now = stack.enter_context(_measured(PROJECT, options.credentials))
        duels = []
        for number in range(options.rounds):
            for batch in BATCHES:
                duels.append(_measure_both(before, now, number, batch, options.seconds))
                say(f"Round {number + 1}, {batch:,} a POST: CPU now ÷ before {duels[-1].ratio:.2f}")
    _show(options.commit, duels)
    report.keep(against={"commit": options.commit, "rounds": duels})
    return 0


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """Give a directory with the code of the commit, and an environment of its own."""
    with TemporaryDirectory() as parent:
        directory = str(Path(parent) / "before")
        _run("git", "worktree", "add", "--detach", directory, commit)
        try:
            _run("make", "-C", directory, ".venv/.dev-installed")
            yield Path(directory)
        finally:
            _run("git", "worktree", "remove", "--force", directory)


def _run(*command: str) -> None:
    subprocess.run(command, cwd=PROJECT, check=True)  # noqa: S603 - our own command


@contextmanager
def _measured(directory: Path, credentials: int) -> Iterator["subprocess.Popen[str]"]:
    """Start the stack of that code, and wait until it can be measured."""
    python = str(directory / ".venv/bin/python")
    with subprocess.Popen(  # noqa: S603 - our own command
        [python, "-c", MEASURE_ON_REQUEST, str(credentials)],
        cwd=directory,
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(directory / ".venv/pycache")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        _answer_of(process)
        try:
            yield process
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait()


def _answer_of(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout
    for line in process.stdout:
        if line.startswith(ANSWER):
            return json.loads(line.removeprefix(ANSWER))
    message = f"{process.args!r} ended with {process.wait()}."
    raise RuntimeError(message)


def _measure_both(
    before: "subprocess.Popen[str]",
    now: "subprocess.Popen[str]",
    number: int,
    batch: int,
    seconds: float,
) -> Duel:
    answers = {}
    # Who is first, alternates: the second one finds a warmer or a busier machine.
    for each in (before, now) if number % 2 else (now, before):
        assert each.stdin
        # The name is part of all ids, which have to be new.
        print(
            json.dumps({"name": f"round-{number}", "batch": batch, "seconds": seconds}),
            file=each.stdin,
            flush=True,
        )
        answers[each] = _answer_of(each)
    return Duel(
        batch=batch,
        rate_before=answers[before]["rate"],
        rate_now=answers[now]["rate"],
        cpu_before=answers[before]["cpu"],
        cpu_now=answers[now]["cpu"],
        decoding=_decoding_time(),
    )


def _decoding_time() -> float:
    """Return the microseconds of CPU that decoding one body takes: how fast the machine is now."""
    body = traffic.bodies("work", 100, 1_000, under_way=1)[0].numbered(traffic.FIRST)
    began, times = process_time(), 0
    while process_time() - began < WORK_SECONDS:
        json.loads(body)
        times += 1
    return (process_time() - began) * 1e6 / times


def _show(commit: str, duels: list[Duel]) -> None:
    say(
        f"\nNow beside {commit}; medians of all rounds. CPU of all processes but the generator's.\n"
    )
    lines = []
    for batch in BATCHES:
        rounds = [duel for duel in duels if duel.batch == batch]
        ratios = sorted(duel.ratio for duel in rounds)
        lines.append(
            [
                f"{batch:,}",
                *(
                    f"{median(values):,.0f}"
                    for values in (
                        [duel.rate_before for duel in rounds],
                        [duel.rate_now for duel in rounds],
                        [duel.cpu_before for duel in rounds],
                        [duel.cpu_now for duel in rounds],
                    )
                ),
                f"{median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                f"{median(duel.decoding for duel in rounds):,.0f}",
            ]
        )
    report.table(
        [
            *("a POST", "before/s", "now/s", "CPU µs before", "CPU µs now"),
            *("now ÷ before", "from, to", "a decoding µs"),
        ],
        lines,
    )


if __name__ == "__main__":
    sys.exit(main())
