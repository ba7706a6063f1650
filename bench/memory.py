"""Whether memory grows under a steady load: `python -m bench.memory --minutes 60`."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import cpu, report
from bench.load import post
from bench.rows import Load, measure, plan_of
from bench.stack import PROCESSES, Bench, a_bench, arguments, say

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CREDENTIALS = 100_000
BATCH = 100
SHARE = 0.5  # of what it takes
TO_FIND_OUT = 20.0  # seconds, what that is
MINUTE = 60.0
EVERY = 10.0  # seconds
OF_EACH_END = 3  # readings, the middle one of which stands for the start, or the end
WATCHED = ("web", "worker", "clock")
GOAL = 0.05  # of growth


@dataclass(frozen=True)
class Reading:
    """Kilobytes by the name of a process, with all it started."""

    at: float  # seconds since the load began
    pss: Mapping[str, int]
    rss: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Grown:
    """Kilobytes: PSS after the first minute and in the end, and the most there was of RSS."""

    name: str
    start: float
    end: float
    most_rss: int

    @property
    def growth(self) -> float:
        return self.end / self.start - 1


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    with a_bench(options.credentials) as bench:
        full = measure(bench, Load(name="full", batch=BATCH, seconds=TO_FIND_OUT))
        rate = SHARE * full.attributed
        say(f"{rate:,.0f} transactions a second for {options.minutes:g} minutes.")
        readings = list(_read(bench, rate, options.minutes * MINUTE))
        say(f"In the inbox at the end: {bench.waiting():,}.")
    grown = _grown(readings)
    _show(grown, len(readings))
    report.keep(memory={"minutes": options.minutes, "rate": rate, "grown": grown})
    return 0


def _read(bench: Bench, rate: float, seconds: float) -> Iterator[Reading]:
    client = _client(bench, rate, seconds)
    began = time.monotonic()
    while not client.poll(EVERY):
        yield _reading(bench, time.monotonic() - began)
    answers = Counter(each.status for each in client.recv().sent)
    say(f"Answers: {dict(answers)}.")


def _client(bench: Bench, rate: float, seconds: float) -> "Connection[Any, Any]":
    """One that sends at once, and writes nothing down: there is nothing to prove here."""
    load = Load(name="steady", batch=BATCH, seconds=seconds, rate=rate)
    plan = replace(plan_of(bench, load), record=None)
    ours, theirs = PROCESSES.Pipe()
    processed = PROCESSES.Value("q", 0, lock=False)
    PROCESSES.Process(target=post, args=(plan, processed, theirs), daemon=True).start()
    theirs.close()
    ours.recv()
    ours.send(None)
    return ours


def _reading(bench: Bench, at: float) -> Reading:
    of_each = {name: cpu.memory(bench.children[name]) for name in WATCHED}
    return Reading(
        at,
        {name: pss for name, (pss, _) in of_each.items()},
        {name: rss for name, (_, rss) in of_each.items()},
    )


def _grown(readings: list[Reading]) -> list[Grown]:
    """What the first minute takes is no growth: caches fill."""
    warm = [each for each in readings if each.at > MINUTE]
    first, last = warm[:OF_EACH_END], warm[-OF_EACH_END:]
    return [
        Grown(
            name=name,
            start=median(each.pss[name] for each in first),
            end=median(each.pss[name] for each in last),
            most_rss=max(each.rss[name] for each in readings),
        )
        for name in WATCHED
    ]


def _show(grown: list[Grown], readings: int) -> None:
    say()
    report.table(
        ["", "MB after a minute", "MB at the end", "growth", "most RSS", f"goal {GOAL:.0%}"],
        [
            [
                *(each.name, _mb(each.start), _mb(each.end), f"{each.growth:+.1%}"),
                *(_mb(each.most_rss), "reached" if each.growth <= GOAL else "MISSED"),
            ]
            for each in grown
        ],
    )
    say(f"\nPSS of each process and all it started, every {EVERY:.0f} s, {readings} times.")


def _mb(kilobytes: float) -> str:
    return f"{kilobytes / 1024:,.1f}"


if __name__ == "__main__":
    sys.exit(main())
