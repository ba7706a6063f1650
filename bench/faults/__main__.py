"""`make faults`: kill, freeze, fill and cut everything under load, and see that promises hold."""

import argparse
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import replace

from bench.faults import report
from bench.faults.kinds import KINDS
from bench.faults.run import Outcome, Plan, run
from bench.faults.trial import end_in_order
from bench.stack import say

FAULTS, TRANSACTIONS = 200, 100_000


def main() -> int:
    end_in_order()
    options = _options()
    say(f"Seed {options.seed}. Load average before: {os.getloadavg()[0]:.1f}.")
    outcomes: list[Outcome] = []
    for plan in _rounds(options):
        outcomes.append(run(plan))
        report.about(outcomes[-1])
        if options.rounds > 1:
            report.so_far(outcomes)
    return 1 if any(outcome.verdict.broken for outcome in outcomes) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=FAULTS)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS, help="to be accepted")
    parser.add_argument("--rounds", type=int, default=1, help="each with new stores, and judged")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kinds", default="", help="only those whose names begin with this")
    parser.add_argument("--short", action="store_true", help="every kind once, each briefly")
    parser.add_argument(
        "--shared", action="store_true", help="other work on this machine makes answers late"
    )
    return parser.parse_args()


def _rounds(options: argparse.Namespace) -> Iterator[Plan]:
    """Yield a plan for each round, whose seed is that of the first and the number of the round."""
    kinds = [kind for name, kind in KINDS.items() if name.startswith(options.kinds)]
    for number in range(options.rounds):
        plan = Plan(
            seed=options.seed + number,
            faults=options.faults // options.rounds,
            transactions=options.transactions // options.rounds,
            kinds=kinds,
            is_shared=options.shared or options.short,
        )
        if options.short:
            yield replace(
                plan,
                faults=len(kinds),
                transactions=0,
                lasting=(0.3, 1.0),
                pause=(0.3, 0.6),
            )
        else:
            yield plan


if __name__ == "__main__":
    sys.exit(main())
