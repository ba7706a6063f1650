"""The table, and the same as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.consistency import Proof
from bench.limits import Answered, Copied
from bench.machine import Machine
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
    for row in measured:
        if set(row.answers) != {202}:
            say(f"Not all were 202 at {row.batch:,} a POST: {row.answers}")


def legend() -> None:
    say(
        "\nCPU µs: of all processes but the generator's, a transaction. attributed: processed, that"
        " is,\nwith quarantine and repeats. lag: from the 202 to the commit that processed it"
        " (track_commit_timestamp).\nothers:"
        " the share of all cores' time that went to what is not ours."
    )


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
                f"{each['batch']:,}",
                f"{each['attributed_of_copy']:.2f}",
                f"{each['cpu_of_copy']:.1f}",
                f"{each['posts_of_healthz']:.2f}",
                f"{each['web_cpu_of_healthz']:.1f}",
            ]
            for each in shares(measured, copied, answered)
        ],
    )


def shares(measured: Sequence[Row], copied: Copied, answered: Answered) -> list[dict[str, float]]:
    """How near the rows at full load come to what the machine can do."""
    return [
        {
            "batch": row.batch,
            "attributed_of_copy": row.attributed / copied.rate,
            "cpu_of_copy": row.cpu_of_all / copied.cpu,
            "posts_of_healthz": row.accepted / row.batch / answered.rate,
            "web_cpu_of_healthz": row.cpu["web"] * row.batch / answered.cpu,
        }
        for row in measured
        if row.offered is None
    ]


def beside(measured: Sequence[Row], textbook: Sequence[Row]) -> None:
    say("\nThe textbook way on the same machine, stores and credentials (bench/textbook):\n")
    rows(textbook)
    say()
    table(
        ["a POST", "ours ÷ textbook's attributed/s", "textbook's CPU ÷ ours"],
        [
            [f"{each['batch']:,}", f"{each['attributed']:,.0f}", f"{each['cpu']:,.0f}"]
            for each in times(measured, textbook)
        ],
    )


def times(measured: Sequence[Row], textbook: Sequence[Row]) -> list[dict[str, float]]:
    """How many times the textbook's rate, and how much less CPU, by batch at full load."""
    ours = {row.batch: row for row in measured if row.name == "full"}
    return [
        {
            "batch": row.batch,
            "attributed": ours[row.batch].attributed / row.attributed,
            "cpu": row.cpu_of_all / ours[row.batch].cpu_of_all,
        }
        for row in textbook
    ]


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
    """Beside what other benchmarks have measured, and in the place of what was there before."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(kept | measured, indent=1, default=asdict) + "\n")
    say(f"\nAlso in {RESULTS.relative_to(PROJECT)}.")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for line in (head, ["-" * width for width in widths], *lines):
        say("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:,.1f}" if seconds < 1 else f"{seconds * 1e3:,.0f}"
