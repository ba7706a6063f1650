"""One run: everything started, faults from a seed under load, quiet, and then the judge."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.faults.background_load import moving, sending, uploading
from bench.faults.clients import Address, History
from bench.faults.clock import Clock, NoCompilerError, make_clocks
from bench.faults.disk import Disk, NoDiskError, disk_for_postgresql
from bench.faults.judge import Evidence, Verdict, judge
from bench.faults.kinds import KINDS, Fault, Kind, strike
from bench.faults.post_office import post_office
from bench.faults.proxy import HOST
from bench.faults.trial import SETTINGS, Trial
from bench.faults.world import SECOND_WEB, WEB
from bench.stack import PROJECT, say
from revcred.launcher.environment import EnvironmentVariables
from revcred.launcher.stack import running_stack
from revcred.launcher.temporary import temporary_directory

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

TOLD_EVERY = 10  # faults
LAST_WORDS = 1.0  # seconds in which the last transactions come in while no bell is heard

WAITING = """
SELECT
    (SELECT coalesce(sum(transactions), 0) FROM metering_delivery)
    + (SELECT count(*) FROM metering_claim WHERE finished_at IS NULL)
    + (SELECT count(*) FROM revcred_outgoingmail WHERE next_try_at IS NOT NULL)
"""
# A mail whose attempt was interrupted is tried again a minute later, or some.
HURRY_MAILS = """
UPDATE revcred_outgoingmail SET next_try_at = now()
WHERE next_try_at BETWEEN now() AND now() + interval '15 minutes'
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    seed: int
    faults: int
    transactions: int = 0
    kinds: Sequence[Kind] = field(default_factory=lambda: list(KINDS.values()))
    lasting: tuple[float, float] = (0.3, 2.5)  # seconds of a fault
    pause: tuple[float, float] = (0.8, 1.6)  # seconds after it
    quiet: float = 60.0  # seconds until all that was accepted has to be processed
    settings: Mapping[str, str] = field(default_factory=dict)  # PostgreSQL's
    environment: EnvironmentVariables = field(default_factory=dict)  # of the processes on trial
    statements: Sequence[str] = ()  # to the database before anything serves
    is_shared: bool = False  # the machine does more besides


@dataclass(frozen=True)
class Outcome:
    faults: Sequence[Fault]
    fallen: Sequence[str]
    verdict: Verdict
    seconds: float


def run(plan: Plan) -> Outcome:
    began = time.monotonic()
    chance = random.Random(plan.seed)  # noqa: S311 - the same faults for the same seed
    settings = {**SETTINGS, **plan.settings}
    with temporary_directory() as directory, ExitStack() as parts:
        disk, clocks = _disk(parts, directory), _clocks(directory)
        office = parts.enter_context(post_office())
        trial = parts.enter_context(running_stack(Trial, directory, PROJECT, settings=settings))
        trial.disk, trial.clocks = disk, clocks
        for statement in plan.statements:
            trial.execute(statement)
        trial.let_database_use_its_clock()
        trial.connect_through_proxies({"EMAIL_URL": office.url, **plan.environment})
        addresses = {door: Address(HOST, trial.proxies[door].port) for door in (WEB, SECOND_WEB)}
        with moving(trial.direct, plan.seed) as (gateways, stop_moving):
            trial.serve()
            with (
                uploading(trial.direct, plan.seed) as stop_uploading,
                sending(addresses, gateways, plan.seed) as (accepted, stop_sending),
            ):
                faults = list(_strike_all(plan, trial, chance, accepted))
                while accepted.value < plan.transactions:
                    time.sleep(1)
                world, lists = stop_moving(), stop_uploading()
                history = _last_words(trial, stop_sending)
        evidence = Evidence(
            history=history,
            world=world,
            waiting=wait_for_quiet(trial, plan.quiet),
            faults=faults,
            lists=lists,
            mails=office.taken,
            is_shared=plan.is_shared,
        )
        verdict = judge(trial, evidence)
        return Outcome(faults, trial.fallen, verdict, time.monotonic() - began)


def _disk(parts: ExitStack, directory: Path) -> Disk | None:
    try:
        return parts.enter_context(disk_for_postgresql(directory))
    except NoDiskError:
        say("No disk can be made here: its kinds of faults are not tried. See bench/README.md.")
        return None


def _clocks(directory: Path) -> Mapping[str, Clock]:
    try:
        return make_clocks(directory)
    except NoCompilerError:
        say("No C compiler here: wrong clocks are not tried.")
        return {}


def _strike_all(
    plan: Plan, trial: Trial, chance: random.Random, accepted: "Synchronized[int]"
) -> Iterator[Fault]:
    """Every kind once, in any order, and again, until there are enough."""
    kinds = [kind for kind in plan.kinds if not kind.needs or getattr(trial, kind.needs)]
    deck: list[Kind] = []
    if not kinds:
        return
    for done in range(plan.faults):
        if done and done % TOLD_EVERY == 0:
            say(f"{done} faults, {accepted.value:,} transactions accepted …")
        if not deck:
            deck = list(kinds)
            chance.shuffle(deck)
        time.sleep(chance.uniform(*plan.pause))
        yield strike(deck.pop(), trial, chance, chance.uniform(*plan.lasting))
    time.sleep(plan.pause[1])


def _last_words(trial: Trial, stop_sending: Callable[[], History]) -> History:
    """No bell is heard for the last transactions: only the clock can find them."""
    trial.kill("worker")
    time.sleep(LAST_WORDS)
    history = stop_sending()
    time.sleep(LAST_WORDS)
    trial.broker().flushall()
    trial.begin("worker")
    return history


def wait_for_quiet(trial: Trial, seconds: float) -> int:
    """How many transactions, claims and mails still wait when it has had long enough."""
    trial.execute(HURRY_MAILS)
    with suppress(TimeoutError):
        trial.wait_until(lambda: _waiting(trial) == 0, max_seconds=seconds)
    return _waiting(trial)


def _waiting(trial: Trial) -> int:
    return int(trial.ask(WAITING)[0][0])
