"""How soon a call counts, also without Redis: `python -m bench.lag`.

Ten minutes without it at a third of what the machine processes:
`python -m bench.lag --seconds 600 --batch 100 --rate 5000`.
"""

import sys

from bench import report
from bench.rows import CONNECTIONS, Load, Row, measure, warm_up
from bench.stack import a_bench, arguments, say

RATE = 2.0  # transactions a second, as the demo's gateway posts them
SECONDS = 30.0
CREDENTIALS = 20_000


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each row")
    parser.add_argument("--rate", type=float, default=RATE, help="transactions a second")
    parser.add_argument("--batch", type=int, default=1, choices=CONNECTIONS, help="in a POST")
    options = parser.parse_args()

    def row(name: str) -> None:
        load = Load(name=name, batch=options.batch, seconds=options.seconds, rate=options.rate)
        rows.append(measure(bench, load))

    rows: list[Row] = []
    with a_bench(options.credentials) as bench:
        warm_up(bench)
        row("everything")
        bench.kill("broker")
        row("no Redis")
        bench.kill("worker")
        row("clock alone")
    say("\neverything runs; then Redis is killed; then the worker, too, and the clock sweeps.\n")
    report.rows(rows)
    report.legend()
    return 0


if __name__ == "__main__":
    sys.exit(main())
