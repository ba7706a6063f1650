"""How soon a call counts at a modest traffic, also without Redis: `python -m bench.lag`."""

import sys

from bench import report
from bench.rows import Load, measure
from bench.stack import a_bench, arguments, say

RATE = 2  # transactions a second, as the demo's gateway posts them
SECONDS = 30
CREDENTIALS = 20_000


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    with a_bench(options.credentials) as bench:
        worker = measure(bench, Load(name="worker", batch=1, seconds=options.seconds, rate=RATE))
        bench.kill("broker")
        bench.kill("worker")
        clock = measure(bench, Load(name="clock", batch=1, seconds=options.seconds, rate=RATE))
    say("\nworker: everything runs. clock: Redis and the worker are killed, the clock sweeps.\n")
    report.rows([worker, clock])
    report.legend()
    return 0


if __name__ == "__main__":
    sys.exit(main())
