"""`make bench`: everything started, seeded, measured beside the machine's own limit, and proven."""

import os
import sys
from collections.abc import Iterator

from bench import limits, report, textbook_comparison
from bench.consistency import prove
from bench.machine import describe
from bench.rows import Load, Row, measure, warm_up
from bench.stack import SECONDS, Bench, a_bench, arguments, say

BATCHES = (1, 100, 1_000)
SHARE = 0.7  # of what it takes, to see how long things take when it is not at its limit


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each row")
    options = parser.parse_args()
    load_average = os.getloadavg()
    with a_bench(options.credentials) as bench:
        machine = describe(bench, load_average)
        rows = list(_rows(bench, options.seconds))
        copied = limits.copy(bench)
        answered = limits.answer(bench, min(5, options.seconds))
        proof = prove(bench)
        textbook = textbook_comparison.textbook(bench, options.seconds)
    report.about(machine, options.credentials)
    report.rows(rows)
    report.legend()
    report.limits(rows, copied, answered)
    report.proof(proof)
    report.beside(rows, textbook)
    report.keep(
        machine=machine,
        credentials=options.credentials,
        rows=rows,
        copy=copied,
        healthz=answered,
        proof=proof,
        textbook=textbook,
        shares=report.shares(rows, copied, answered),
        times_textbook=report.times(rows, textbook),
    )
    return 0 if proof.holds else 1


def _rows(bench: Bench, seconds: float) -> Iterator[Row]:
    warm_up(bench)
    for batch in BATCHES:
        full = measure(bench, Load(name="full", batch=batch, seconds=seconds))
        say(f"{batch:,} a POST: {full.attributed:,.0f} a second.")
        yield full
        rate = SHARE * full.attributed
        yield measure(bench, Load(name="70 %", batch=batch, seconds=seconds, rate=rate))


if __name__ == "__main__":
    sys.exit(main())
