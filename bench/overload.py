"""Whether one gateway's flood drowns another: `python -m bench.overload`.

A modest gateway posts ten transactions five times a second, first alone, then beside one that
offers five times what is processed and takes no notice of being turned away.
"""

import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from bench import cpu, report
from bench.load import ACCEPTED, OVERLOADED, TOO_MANY, Heard, Plan, Sent, post
from bench.rows import Load, measure
from bench.stack import PROCESSES, Bench, a_bench, arguments, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

CREDENTIALS = 100_000
SECONDS = 30.0
TO_FIND_OUT = 20.0  # seconds, what it processes
GREED = 5  # times that
GREEDY_BATCH, GREEDY_CONNECTIONS = 100, 32
MODEST_BATCH, MODEST_RATE, MODEST_CONNECTIONS = 10, 5.0, 4
TURNED_AWAY = (TOO_MANY, OVERLOADED)
TOLD = (ACCEPTED, *TURNED_AWAY)
WATCHED = ("web", "worker")


@dataclass(frozen=True, kw_only=True)
class Flood:
    """What both gateways heard, and what became of memory and inbox. Memory in kilobytes."""

    alone: list[Sent]
    modest: list[Sent]
    greedy: list[Sent]
    before: dict[str, int]
    after: dict[str, int]
    most_waiting: int
    seconds_to_process: float


@dataclass(frozen=True, kw_only=True)
class Heeded:
    """What one gateway got. Rates in transactions a second, times in seconds."""

    name: str
    offered: float
    accepted: float
    p50: float
    p99: float
    answers: dict[int, int]  # by status
    retry_after: dict[str, int]


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the flood")
    options = parser.parse_args()
    with a_bench(options.credentials) as bench:
        full = measure(bench, Load(name="full", batch=GREEDY_BATCH, seconds=TO_FIND_OUT))
        say(f"Processes {full.attributed:,.0f} transactions a second.")
        flood = _flood(bench, GREED * full.attributed, options.seconds)
    gateways = _gateways(flood, GREED * full.attributed, options.seconds)
    _show(flood, gateways)
    report.keep(
        overload={
            "processed_per_second": full.attributed,
            "gateways": gateways,
            "most_waiting": flood.most_waiting,
            "seconds_to_process": flood.seconds_to_process,
            "memory_before": flood.before,
            "memory_after": flood.after,
        }
    )
    return 0


def _flood(bench: Bench, rate: float, seconds: float) -> Flood:
    modest = _modest(bench, seconds)
    alone = _hear(bench, modest)
    before = _memory(bench)
    greedy = replace(
        modest,
        address=replace(bench.address, token=bench.call("issue", "Greedy")),
        prefix="greedy",
        batch=GREEDY_BATCH,
        connections=GREEDY_CONNECTIONS,
        rate=rate / GREEDY_BATCH,
    )
    modest = replace(modest, prefix="modest-beside")
    waiting = []
    with ready_client(greedy) as flood, ready_client(modest) as small:
        for client in (flood, small):
            client.send(None)
        while not (flood.poll(0.5) and small.poll()):
            waiting.append(bench.waiting())
        heard: Heard = flood.recv()
        beside: Heard = small.recv()
    began = time.monotonic()
    bench.wait_until_processed()
    return Flood(
        alone=alone,
        modest=beside.sent,
        greedy=heard.sent,
        before=before,
        after=_memory(bench),
        most_waiting=max(waiting, default=0),
        seconds_to_process=time.monotonic() - began,
    )


def _modest(bench: Bench, seconds: float) -> Plan:
    return Plan(
        address=replace(bench.address, token=bench.call("issue", "Modest")),
        prefix="modest",
        batch=MODEST_BATCH,
        connections=MODEST_CONNECTIONS,
        seconds=seconds,
        credentials=bench.credentials,
        most_waiting=0,  # it sends at a rate
        record=None,
        rate=MODEST_RATE,
    )


def _hear(bench: Bench, plan: Plan) -> list[Sent]:
    with ready_client(plan) as client:
        client.send(None)
        heard: Heard = client.recv()
    bench.wait_until_processed()
    return heard.sent


@contextmanager
def ready_client(plan: Plan) -> "Iterator[Connection[Any, Any]]":
    """A client with its bodies made, which waits for the word."""
    ours, theirs = PROCESSES.Pipe()
    processed = PROCESSES.Value("q", 0, lock=False)
    client = PROCESSES.Process(target=post, args=(plan, processed, theirs), daemon=True)
    client.start()
    theirs.close()
    ours.recv()
    yield ours
    client.join()


def _memory(bench: Bench) -> dict[str, int]:
    return {name: cpu.memory(bench.children[name])[0] for name in WATCHED}


def _gateways(flood: Flood, offered: float, seconds: float) -> list[Heeded]:
    modest = MODEST_BATCH * MODEST_RATE
    return [
        _heeded("modest alone", MODEST_BATCH, modest, flood.alone, seconds),
        _heeded("modest beside", MODEST_BATCH, modest, flood.modest, seconds),
        _heeded("greedy", GREEDY_BATCH, offered, flood.greedy, seconds),
    ]


def _heeded(name: str, batch: int, offered: float, sent: list[Sent], seconds: float) -> Heeded:
    answers = Counter(each.status for each in sent)
    hundredths = quantiles((each.seconds for each in sent), n=100, method="inclusive")
    return Heeded(
        name=name,
        offered=offered,
        accepted=answers[ACCEPTED] * batch / seconds,
        p50=hundredths[49],
        p99=hundredths[98],
        answers=dict(answers),
        retry_after=dict(
            Counter(each.retry_after or "none" for each in sent if each.status in TURNED_AWAY)
        ),
    )


def _show(flood: Flood, gateways: list[Heeded]) -> None:
    say()
    report.table(
        ["", "offered/s", "accepted/s", "p50 ms", "p99 ms", "202", "429", "503", "others"],
        [
            [
                *(each.name, f"{each.offered:,.0f}", f"{each.accepted:,.0f}"),
                *(f"{each.p50 * 1e3:,.1f}", f"{each.p99 * 1e3:,.1f}"),
                *(f"{each.answers.get(status, 0):,}" for status in TOLD),
                f"{sum(n for status, n in each.answers.items() if status not in TOLD):,}",
            ]
            for each in gateways
        ],
    )
    memory = ", ".join(
        f"{name} {flood.before[name] / 1024:.0f} to {flood.after[name] / 1024:.0f} MB"
        for name in WATCHED
    )
    retry_after = {each.name: each.retry_after for each in gateways if each.retry_after}
    say(
        "\nTimes are of all answers, from when the POST was due: those of the greedy one are of its"
        f"\nown making. Retry-After: {retry_after or 'nobody was turned away'}.\nMost in the inbox"
        f" {flood.most_waiting:,} transactions, empty {flood.seconds_to_process:.1f} s after the"
        f" end. PSS: {memory}."
    )


if __name__ == "__main__":
    sys.exit(main())
