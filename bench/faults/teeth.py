"""`make teeth`: deliberate breaks of the promise, each of which the harness has to catch."""

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from bench.faults import report
from bench.faults.kinds import KINDS
from bench.faults.mutants.apps import MUTANT
from bench.faults.run import Plan, run
from bench.faults.trial import end_in_order
from bench.stack import say
from revcred.launcher.errors import LaunchError

FORGETFUL = """
ALTER TABLE metering_seentransaction DROP CONSTRAINT metering_seentransaction_pkey CASCADE
"""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """What is broken, by what fault that shows, and which promise is then not kept."""

    name: str
    kinds: Sequence[str]
    betrayed_by: Sequence[str]  # any of them
    breaks: str = "nothing"  # in bench.faults.mutants.breaks
    settings: Mapping[str, str] = field(default_factory=dict)
    statements: Sequence[str] = ()
    ruins: bool = False  # the database may be in ruins then, which is enough of a proof


MUTANTS = (
    Mutant(
        name="synchronous_commit=off",
        settings={"synchronous_commit": "off", "wal_writer_delay": "10s"},
        kinds=("database: killed",),
        betrayed_by=("lost",),
    ),
    Mutant(
        name="synchronous_commit=off, and no power",
        settings={"synchronous_commit": "off", "wal_writer_delay": "10s"},
        kinds=("database: power cut",),
        betrayed_by=("lost",),
    ),
    Mutant(
        name="fsync=off, and no power",
        settings={"fsync": "off"},
        kinds=("database: power cut",),
        betrayed_by=("lost",),
        ruins=True,
    ),
    Mutant(
        name="202 before the commit",
        breaks="accept_before_commit",
        kinds=("web: killed", "database: killed"),
        betrayed_by=("lost",),
    ),
    Mutant(
        name="no unique constraint",
        breaks="forget",
        statements=(FORGETFUL,),
        kinds=("web: killed", "worker: killed"),
        betrayed_by=("double",),
    ),
    Mutant(
        name="repeats remembered in Redis",
        breaks="remember_in_redis",
        statements=(FORGETFUL,),
        kinds=("broker: flushed",),
        betrayed_by=("double", "lost"),
    ),
    Mutant(
        name="no sweeper, and Redis flushed",
        breaks="sweep_nothing",
        kinds=("broker: flushed",),
        betrayed_by=("waiting",),
    ),
    Mutant(
        name="inbox and ledger in two transactions",
        breaks="process_in_two_transactions",
        kinds=("database: killed",),
        betrayed_by=("lost",),
    ),
    Mutant(
        name="attribution by now",
        breaks="judge_by_now",
        kinds=("worker: killed",),
        betrayed_by=("misattributed",),
    ),
)
FAULTS = 8
TRANSACTIONS = 2_000  # at least, however slow the machine is
QUIET = 15.0  # seconds
# What a run ends with when the database lost what everything else relies on.
RUINS = (EOFError, TimeoutError, LaunchError, psycopg.Error)


def main() -> int:
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="mutants whose names begin with this")
    options = parser.parse_args()
    say(f"Seed {options.seed}.")
    mutants = [each for each in MUTANTS if each.name.startswith(options.only)]
    caught = sum(_is_caught(each, options.seed) for each in mutants)
    say(f"{caught} of {len(mutants)}")
    return 0 if caught == len(mutants) else 1


def _is_caught(mutant: Mutant, seed: int) -> bool:
    plan = Plan(
        seed=seed,
        faults=FAULTS,
        transactions=TRANSACTIONS,
        kinds=[KINDS[name] for name in mutant.kinds],
        lasting=(0.2, 0.5),
        pause=(0.8, 1.4),
        quiet=QUIET,
        settings=mutant.settings,
        statements=mutant.statements,
        environment={
            "DJANGO_SETTINGS_MODULE": "bench.faults.mutants.settings",
            MUTANT: mutant.breaks,
        },
    )
    try:
        outcome = run(plan)
    except RUINS as problem:
        if not mutant.ruins:
            raise
        say(f"{mutant.name}: caught. Nothing works any more: {type(problem).__name__}.")
        return True
    if not outcome.faults:
        say(f"{mutant.name}: not tried, since this machine cannot do what betrays it.")
        return True
    caught = any(outcome.verdict.broken.get(promise) for promise in mutant.betrayed_by)
    said = "caught" if caught else "NOT CAUGHT"
    say(
        f"{mutant.name}: {said} in {outcome.seconds:.0f} s,"
        f" {outcome.verdict.accepted:,} accepted. {report.verdict_line(outcome.verdict)}"
    )
    return caught


if __name__ == "__main__":
    sys.exit(main())
