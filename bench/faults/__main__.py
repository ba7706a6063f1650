"""`make faults`: kill, freeze, fill and cut everything under load, and see that promises hold."""

import argparse
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import replace

from bench.faults import report
from bench.faults.disk import NoSmallDiskError, run_on_small_disk
from bench.faults.kinds import DISK_FULL, KINDS, Kind
from bench.faults.run import Outcome, Plan, run
from bench.faults.trial import end_in_order
from bench.stack import say

FAULTS, TRANSACTIONS = 200, 100_000


def main() -> int:
    end_in_order()
    options = _options()
    say(f"Seed {options.seed}. Load average before: {os.getloadavg()[0]:.1f}.")
    held = True
    for outcome in _outcomes(options):
        report.about(outcome)
        held = held and not outcome.verdict.broken
    return 0 if held else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=FAULTS)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS, help="to be accepted")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kinds", default="", help="only those whose names begin with this")
    parser.add_argument("--short", action="store_true", help="every kind once, each briefly")
    return parser.parse_args()


def _outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    kinds = [kind for name, kind in KINDS.items() if name.startswith(options.kinds)]
    if kinds:
        yield run(_plan(options, kinds))
    try:
        if DISK_FULL.name.startswith(options.kinds):
            yield run_on_small_disk(options.seed)
    except NoSmallDiskError:
        say("No small file system can be mounted here: a full disk was not tried.")


def _plan(options: argparse.Namespace, kinds: list[Kind]) -> Plan:
    plan = Plan(
        seed=options.seed,
        faults=options.faults,
        transactions=options.transactions,
        kinds=kinds,
    )
    if not options.short:
        return plan
    return replace(plan, faults=len(kinds), transactions=0, lasting=(0.3, 1.0), pause=(0.3, 0.6))


if __name__ == "__main__":
    sys.exit(main())
