"""Whether a long history makes it slower: `python -m bench.history`, the same before and after.

A month of transactions and the memory of each, a year of one subscription's usage, on a large
customer base; then pages, receipts, and days that come and go while gateways post.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from urllib.parse import quote

from bench import plans, report
from bench.machine import describe
from bench.pages import Browser, Page, show, timed, timed_all
from bench.rows import Load, Row, keep_record, measure, plan_of, watch
from bench.seed_history import BUSY, load
from bench.stack import SECONDS, Bench, a_bench, arguments, say

TRANSACTIONS, CREDENTIALS = 50_000_000, 10_000_000
BATCHES = (100, 1_000, 1)
SHARE = 0.7  # of what it took before, for times that mean something
GOAL = 0.1  # how much slower it may be
MONTH_GOAL, YEAR_GOAL, RECEIPT_GOAL = 0.2, 0.2, 0.02  # seconds
RECEIPTS = 50
WARM = 4  # times as long as a row, until what is asked for again and again is in memory
STATISTICS_LATE = 2.0  # seconds until PostgreSQL's counters are up to date

SIZES = """
SELECT
    regexp_replace(relname, '_[0-9]+$', '') AS name,
    pg_size_pretty(sum(pg_total_relation_size(oid))), sum(greatest(reltuples, 0))::bigint
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
GROUP BY 1 HAVING sum(pg_total_relation_size(oid)) > 10000000 ORDER BY 1
"""


@dataclass(frozen=True, kw_only=True)
class Days:
    """Partitions made and dropped while gateways post. In seconds."""

    ensured: float
    dropped: list[float]
    steady: Row
    meanwhile: Row


@dataclass(frozen=True)
class Past:
    """The same rows before it was there and after, and the seconds it took to write it."""

    before: list[Row]
    written_in: float
    after: list[Row]

    @property
    def full_after(self) -> dict[int, Row]:
        return _at_full_load(self.after)

    @property
    def times(self) -> list[dict[str, float]]:
        """After it, as so many times what was before, by batch at full load."""
        before = _at_full_load(self.before)
        return [
            {
                "batch": batch,
                "attributed": row.attributed / before[batch].attributed,
                "cpu": row.cpu_of_all / before[batch].cpu_of_all,
            }
            for batch, row in self.full_after.items()
        ]


@dataclass(frozen=True)
class Present:
    """What was seen behind a long history. Forgetting is in seconds."""

    plan: list[str]
    read_whole: dict[str, int]
    pages: list[Page]
    forgetting: float | None  # None: longer than a statement may take
    days: Days

    @property
    def all_pages_came(self) -> bool:
        return all(page.status == HTTPStatus.OK for page in self.pages)


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each row")
    options = parser.parse_args()
    load_average = os.getloadavg()
    with a_bench(options.credentials, overlaps=False) as bench:
        machine = describe(bench, load_average)
        report.about(machine, options.credentials)
        past = _past(bench, options.transactions, options.seconds)
        measured = {
            "machine": machine,
            "credentials": options.credentials,
            "transactions": options.transactions,
            "past": past,
            "times": past.times,
        }
        report.keep(history=measured)
        present = _present(bench, options.seconds, past.full_after[100].attributed)
    report.keep(history=measured | {"present": present})
    return 0 if present.all_pages_came else 1


def _past(bench: Bench, transactions: int, seconds: float) -> Past:
    """Before and after it is there."""
    before = list(_rows(bench, "before", seconds))
    written_in = load(bench, transactions)
    say(f"{transactions:,} transactions of a month written in {written_in:.0f} s.")
    _show_sizes(bench)
    offered = {row.batch: row.offered for row in before if row.offered}
    past = Past(before, written_in, list(_rows(bench, "after", seconds, offered)))
    _show_rows(past)
    return past


def _present(bench: Bench, seconds: float, full: float) -> Present:
    """What is asked and done once it is there."""
    read_whole = _read_whole(bench, seconds)
    plan = plans.look_ups(bench)
    _show_plan(bench, plan, read_whole)
    show(pages := list(_pages(bench)))
    forgetting: float | None = json.loads(bench.call("bench.in_process.forgetting"))
    took = "longer than a statement may take" if forgetting is None else f"{forgetting:.2f} s"
    say(f"\nThe clock looks for what is too old to be remembered: {took}.")
    days = _days(bench, seconds, rate=full * SHARE / 2)
    _show_days(days)
    return Present(plan, read_whole, pages, forgetting, days)


def _at_full_load(rows: list[Row]) -> dict[int, Row]:
    return {row.batch: row for row in rows if row.offered is None}


def _rows(
    bench: Bench, name: str, seconds: float, offered: Mapping[int, float] | None = None
) -> Iterator[Row]:
    """Warm, and then as `python -m bench` does it; the second time at the first one's rates."""
    measure(bench, Load(name=f"{name}-warm", batch=100, seconds=WARM * seconds))
    for batch in BATCHES:
        full = measure(bench, Load(name=name, batch=batch, seconds=seconds))
        say(f"{name.capitalize()}, {batch:,} a POST: {full.attributed:,.0f} a second.")
        yield full
        rate = offered[batch] if offered else SHARE * full.attributed
        yield measure(bench, Load(name=f"{name} 70 %", batch=batch, seconds=seconds, rate=rate))


def _show_sizes(bench: Bench) -> None:
    say()
    lines = [[name, size, f"{rows:,}"] for name, size, rows in bench.database.execute(SIZES)]
    report.table(["table", "with indexes", "rows"], lines)
    say("Overlaps of keys and assignments are not forbidden here: no row measured asks for it.")


def _show_rows(past: Past) -> None:
    say()
    report.rows(list(chain.from_iterable(zip(past.before, past.after, strict=True))))
    report.legend()
    say()
    report.table(
        ["a POST", "attributed/s, after ÷ before", "CPU µs, after ÷ before", f"goal {GOAL:.0%}"],
        [
            [
                *(f"{each['batch']:,}", f"{each['attributed']:.2f}", f"{each['cpu']:.2f}"),
                "reached" if each["attributed"] >= 1 - GOAL else "MISSED",
            ]
            for each in past.times
        ],
    )


def _read_whole(bench: Bench, seconds: float) -> dict[str, int]:
    """Rows of large tables that were read in passing through all of them, while it attributed."""
    before = plans.rows_read_whole(bench)
    plan = plan_of(bench, Load(name="whole", batch=100, seconds=seconds))
    watch(plan, bench)
    time.sleep(STATISTICS_LATE)
    read = {name: rows - before.get(name, 0) for name, rows in plans.rows_read_whole(bench).items()}
    keep_record(bench, plan)
    return {name: rows for name, rows in read.items() if rows}


def _show_plan(bench: Bench, plan: list[str], read_whole: dict[str, int]) -> None:
    say("\nAttribution's ways to its tables:")
    for line in plan:
        say(f"  {line}")
    planned = plans.large_read_whole(bench, plan)
    say(f"Large tables read whole, by the plan: {', '.join(planned) or 'none'}.")
    said = ", ".join(f"{name} {rows:,} rows" for name, rows in read_whole.items())
    say(f"Large tables read whole, by PostgreSQL's counters under load: {said or 'none'}.")


def _pages(bench: Bench) -> Iterator[Page]:
    browser, owner = Browser(bench), Browser(bench, owned=BUSY)
    subscription = f"/subscriptions/{BUSY}/"
    yield timed(browser, "admin: transactions", "/admin/metering/transaction/")
    yield timed(browser, "admin: usage", "/admin/metering/usage/")
    yield timed(browser, "admin: quarantine", "/admin/metering/quarantined/")
    month = f"{subscription}?span=month"
    yield timed_all(owner, "a subscription's month", [month] * 5, goal=MONTH_GOAL)
    year = json.loads(bench.call("bench.in_process.year", BUSY))
    seconds = sorted(year["seconds"])
    name = f"its year's figures ({year['rows']:,} rows of usage)"
    yield Page(name, HTTPStatus.OK, 0, seconds[len(seconds) // 2], seconds[-1], YEAR_GOAL)
    ids = json.loads(bench.call("bench.in_process.remember", RECEIPTS))
    paths = [f"/v1/transactions/{each}" for each in ids]
    yield timed_all(browser, f"{RECEIPTS} receipts of the past", paths, goal=RECEIPT_GOAL)
    recent = "SELECT transaction_id FROM bench_sent WHERE known = 1 LIMIT %s"
    ids = [each for (each,) in bench.database.execute(recent, [RECEIPTS])]
    paths = [f"/v1/transactions/{quote(each)}" for each in ids]
    yield timed_all(browser, f"{RECEIPTS} receipts of today", paths, goal=RECEIPT_GOAL)


def _days(bench: Bench, seconds: float, rate: float) -> Days:
    """Days come and go in the middle of the second of two equal loads."""
    steady = measure(bench, Load(name="steady", batch=100, seconds=seconds, rate=rate))
    with ThreadPoolExecutor(1) as aside:
        days = aside.submit(bench.call, "bench.in_process.days_come_and_go", seconds / 2)
        meanwhile = measure(bench, Load(name="days", batch=100, seconds=seconds, rate=rate))
    return Days(**json.loads(days.result()), steady=steady, meanwhile=meanwhile)


def _show_days(days: Days) -> None:
    dropped = " and ".join(f"{seconds * 1e3:,.0f}" for seconds in days.dropped)
    say(
        "\nDays come and go while gateways post: three made in"
        f" {days.ensured * 1e3:,.0f} ms, an empty and a full one dropped in {dropped} ms.\n"
    )
    report.rows([days.steady, days.meanwhile])


if __name__ == "__main__":
    sys.exit(main())
