"""The table, and the same as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.limits import Answered, Copied
from bench.machine import Machine
from bench.proof import Proof
from bench.rows import Row
from bench.stack import PROJECT, say

RESULTS = PROJECT / "bench" / "results.json"
PROCESSES = ("web", "worker", "clock", "database", "broker", "generator")


def about(machine: Machine, credentials: int) -> None:
    durable = ", ".join(f"{name}={value}" for name, value in machine.durability.items())
    loads = " ".join(f"{each:.2f}" for each in machine.load_average)
    say(
        f"\n{machine.cores} cores of {machine.model}, {machine.memory}; Python {machine.python},"
        f" PostgreSQL {machine.postgresql} (shared_buffers {machine.shared_buffers}, {durable},"
        f" on {machine.filesystem}); {credentials:,} credentials;"
        f" load average at the start {loads}."
        "\nOne web process, one worker, one clock; clients, and all else, on the same cores.\n"
    )


def rows(measured: Sequence[Row]) -> None:
    """Rates in transactions a second, times in milliseconds, CPU in microseconds each."""
    table(
        [
            *("", "a POST", "conn.", "offered/s", "accepted/s", "attributed/s"),
            *("POST p50", "p99 ms", "lag p50", "p99 ms", "CPU µs"),
            *PROCESSES,
            "others",
        ],
        [
            [
                *(row.name, f"{row.batch:,}", str(row.connections)),
                f"{row.offered:,.0f}" if row.offered else "all it takes",
                *(f"{row.accepted:,.0f}", f"{row.attributed:,.0f}"),
                *(_ms(row.post_p50), _ms(row.post_p99), _ms(row.lag_p50), _ms(row.lag_p99)),
                f"{row.cpu_of_all:,.0f}",
                *(f"{row.cpu[name]:,.1f}" for name in PROCESSES),
                f"{row.foreign:.0%}",
            ]
            for row in measured
        ],
    )
    say(
        "\nCPU µs: of all processes but the generator's, a transaction. attributed: settled, which"
        " includes\nquarantine and repeats. lag: from the 202 to the commit that settled it"
        " (track_commit_timestamp).\nothers:"
        " the share of all cores' time that went to what is not ours."
    )
    for row in measured:
        if set(row.answers) != {202}:
            say(f"Not all were 202 at {row.batch:,} a POST: {row.answers}")


def limits(measured: Sequence[Row], copied: Copied, answered: Answered) -> None:
    say(
        f"\nThe machine's limit: COPY of {copied.rows:,} of these rows by two clients into a copy"
        f" of the ledger:\n{copied.rate:,.0f} rows/s, {copied.cpu:.1f} µs of PostgreSQL's CPU a"
        f" row. GET /healthz over 16 connections: {answered.rate:,.0f}/s,\np50"
        f" {_ms(answered.p50)} ms, {answered.cpu:.0f} µs of the web process's CPU.\n"
    )
    table(
        ["a POST", "attributed ÷ COPY", "CPU of all ÷ COPY's", "POSTs ÷ /healthz", "web's CPU ÷"],
        [
            [
                f"{row.batch:,}",
                f"{row.attributed / copied.rate:.2f}",
                f"{row.cpu_of_all / copied.cpu:.1f}",
                f"{row.accepted / row.batch / answered.rate:.2f}",
                f"{row.cpu['web'] * row.batch / answered.cpu:.1f}",
            ]
            for row in measured
            if row.offered is None
        ],
    )


def proof(it: Proof) -> None:
    say(
        f"\n{it.accepted:,} accepted by the clients' record = {it.ledger:,} in the ledger"
        f" + {it.quarantine:,} in quarantine + {it.repeats:,} repeats"
        f"{f' - {it.kept_unanswered:,} kept unanswered' if it.kept_unanswered else ''}."
        f"\nLost {it.lost}, twice {it.twice}, never sent {it.never_sent},"
        f" misjudged {it.misjudged}, unanswered {it.unanswered:,}."
        f"\n{it.usage}\n{'It adds up.' if it.holds else 'IT DOES NOT ADD UP.'}"
    )


def keep(**measured: Any) -> None:
    RESULTS.write_text(json.dumps(measured, indent=1, default=asdict) + "\n")
    say(f"\nAlso in {RESULTS.relative_to(PROJECT)}.")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for line in (head, ["-" * width for width in widths], *lines):
        say("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}" if seconds < 1 else f"{seconds * 1e3:,.0f}"
