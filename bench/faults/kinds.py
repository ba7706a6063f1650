"""What can go wrong. Each kind is a context: entered it is done, left it is mended.

Leaving it waits until what was struck serves again. FLUSHALL and the like need no mending.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain

import psycopg

from bench.faults.clock import DATABASE_CLOCK, OTHERS_CLOCK
from bench.faults.disk import FLUSH_AT_ONCE, Disk
from bench.faults.proxy import FAIR, Proxy, Weather
from bench.faults.trial import CONNECTIONS, PROCESSES, Connection, Trial
from bench.faults.world import SECOND_WEB, WEB

Inflict = Callable[[Trial, random.Random], AbstractContextManager[None]]

BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'revcred'
"""
TERMINATE = f"SELECT pg_terminate_backend(pid) FROM ({BACKENDS}) them"  # noqa: S608 - constants
LEAST_MEMORY, ANY_MEMORY = "1mb", "0"
HOUR = 3_600  # seconds
CLOCK_ERROR = HOUR // 2, 9 * HOUR
SLOW_FLUSH = 0.05, 0.5  # seconds
STALLED_FLUSH = 5.0, 5.0


@dataclass(frozen=True)
class Kind:
    name: str
    inflict: Inflict
    excuses: bool  # whether a 5xx is an honest answer meanwhile
    needs: str = ""  # what a trial may lack
    moves_time: bool = False  # whether PostgreSQL, which judges every moment, was wrong about it


def killed(*names: str, number: signal.Signals = signal.SIGKILL) -> Inflict:
    @contextmanager
    def inflict(trial: Trial, chance: random.Random) -> Iterator[None]:
        if number == signal.SIGKILL:
            for name in names:
                trial.kill(name)
        else:
            trial.ask_to_end(names)
        yield
        trial.begin(*names)

    return inflict


def frozen(*names: str) -> Inflict:
    @contextmanager
    def inflict(trial: Trial, chance: random.Random) -> Iterator[None]:
        groups = [trial.children[name].process.pid for name in names]
        for group in groups:
            os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            for group in groups:
                os.killpg(group, signal.SIGCONT)
        for name in names:
            trial.wait_until_ready(name)

    return inflict


@contextmanager
def broker_flushed(trial: Trial, chance: random.Random) -> Iterator[None]:
    trial.broker().flushall()
    yield


@contextmanager
def broker_full(trial: Trial, chance: random.Random) -> Iterator[None]:
    trial.broker().config_set("maxmemory", LEAST_MEMORY)
    yield
    trial.broker().config_set("maxmemory", ANY_MEMORY)


@contextmanager
def database_frozen(trial: Trial, chance: random.Random) -> Iterator[None]:
    trial.signal_database(signal.SIGSTOP)
    try:
        yield
    finally:
        trial.signal_database(signal.SIGCONT)
    trial.wait_until_ready("database")


@contextmanager
def backend_killed(trial: Trial, chance: random.Random) -> Iterator[None]:
    """PostgreSQL then ends all others, and recovers, by itself."""
    if pids := [pid for (pid,) in trial.ask(BACKENDS)]:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
    yield
    trial.wait_until_ready("database")


@contextmanager
def backends_terminated(trial: Trial, chance: random.Random) -> Iterator[None]:
    trial.ask(TERMINATE)
    yield


@contextmanager
def connections_exhausted(trial: Trial, chance: random.Random) -> Iterator[None]:
    """Whoever loses a connection gets no other."""
    taken: list[Connection] = []
    try:
        taken.append(trial.database())
        for _ in range(3):
            _take_all(trial, taken)
            taken[0].execute(TERMINATE.encode())
        _take_all(trial, taken)
        yield
    finally:
        for connection in taken:
            connection.close()
    trial.wait_until_ready("database")


def _take_all(trial: Trial, taken: list[Connection]) -> None:
    with suppress(psycopg.OperationalError):
        while len(taken) < CONNECTIONS:
            taken.append(trial.database())


@contextmanager
def inbox_locked(trial: Trial, chance: random.Random) -> Iterator[None]:
    with trial.database() as connection, connection.transaction():
        connection.execute("LOCK TABLE metering_delivery IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def disk_full(trial: Trial, chance: random.Random) -> Iterator[None]:
    disk = _disk_of(trial)
    disk.fill()
    yield
    disk.empty()
    trial.wait_until_ready("database")


def power_cut(*names: str) -> Inflict:
    """Return a cut of PostgreSQL's power, and in the same moment that of others."""

    @contextmanager
    def inflict(trial: Trial, chance: random.Random) -> Iterator[None]:
        disk = _disk_of(trial)
        disk.cut_power(chance.randrange(1 << 32))
        trial.kill_database()
        for name in names:
            trial.kill(name)
        yield
        disk.restore_power()
        trial.begin("database", *names)

    return inflict


def disk_slow(flush_seconds: tuple[float, float]) -> Inflict:
    @contextmanager
    def inflict(trial: Trial, chance: random.Random) -> Iterator[None]:
        disk = _disk_of(trial)
        disk.slow_down(flush_seconds, chance.randrange(1 << 32))
        yield
        disk.slow_down(FLUSH_AT_ONCE, 0)

    return inflict


def _disk_of(trial: Trial) -> Disk:
    assert trial.disk, "Only kinds that need no disk can be done without one."
    return trial.disk


def clock_wrong(whose: str, sign: int) -> Inflict:
    """It is set, and in the end it is set right."""

    @contextmanager
    def inflict(trial: Trial, chance: random.Random) -> Iterator[None]:
        trial.clocks[whose].set_wrong_by(sign * chance.randint(*CLOCK_ERROR))
        yield
        trial.clocks[whose].set_wrong_by(0)

    return inflict


def weather(place: str, make: Callable[[random.Random], Weather]) -> Inflict:
    @contextmanager
    def inflict(trial: Trial, chance: random.Random) -> Iterator[None]:
        here = make(chance)
        for proxy in _proxies(trial, place):
            proxy.weather = here
        yield
        for proxy in _proxies(trial, place):
            proxy.weather = FAIR

    return inflict


def _proxies(trial: Trial, place: str) -> list[Proxy]:
    doors = (WEB, SECOND_WEB)
    return [trial.proxies[name] for name in (doors if place == WEB else (place,))]


def reset(place: str) -> Inflict:
    @contextmanager
    def inflict(trial: Trial, chance: random.Random) -> Iterator[None]:
        for proxy in _proxies(trial, place):
            trial.network.do(proxy.reset())
        yield
        for proxy in _proxies(trial, place):
            trial.network.do(proxy.reset())

    return inflict


def together(*inflicts: Inflict) -> Inflict:
    @contextmanager
    def inflict(trial: Trial, chance: random.Random) -> Iterator[None]:
        with ExitStack() as all_of_them:
            for each in inflicts:
                all_of_them.enter_context(each(trial, chance))
            yield

    return inflict


def _late(chance: random.Random) -> Weather:
    return Weather(latency=chance.uniform(0.02, 0.1), jitter=0.1)


def _cut(chance: random.Random) -> Weather:
    return Weather(most=chance.randrange(50, 3_000))


def _silent(chance: random.Random) -> Weather:
    return Weather(silent=True)


def _slow(chance: random.Random) -> Weather:
    return Weather(rate=chance.uniform(4_000, 20_000))


WEATHERS = {"late": _late, "cut": _cut, "silent": _silent, "slow": _slow}


def _kinds() -> Iterator[Kind]:
    for name in PROCESSES:
        yield Kind(f"{name}: killed", killed(name), excuses=False)
        yield Kind(f"{name}: asked to end", killed(name, number=signal.SIGTERM), excuses=False)
        # A web that was frozen cannot tell that it was not the database that kept it waiting.
        yield Kind(f"{name}: frozen", frozen(name), excuses=name in (WEB, SECOND_WEB))
    yield Kind("doors, worker and clock: killed", killed(*PROCESSES), excuses=False)
    yield Kind("broker and worker: killed", killed("broker", "worker"), excuses=False)
    yield Kind("broker: killed", killed("broker"), excuses=False)
    yield Kind("broker: frozen", frozen("broker"), excuses=False)
    yield Kind("broker: flushed", broker_flushed, excuses=False)
    yield Kind("broker: full", broker_full, excuses=False)
    yield Kind("database: killed", killed("database"), excuses=True)
    yield Kind("database: frozen", database_frozen, excuses=True)
    yield Kind("database: a backend killed", backend_killed, excuses=True)
    yield Kind("database: backends terminated", backends_terminated, excuses=True)
    yield Kind("database: connections exhausted", connections_exhausted, excuses=True)
    yield Kind("database: inbox locked", inbox_locked, excuses=True)
    yield Kind("everything: killed", killed("database", "broker", *PROCESSES), excuses=True)
    for place in (WEB, "database", "broker"):
        for name, make in WEATHERS.items():
            yield Kind(
                f"network to {place}: {name}", weather(place, make), excuses=place == "database"
            )
        yield Kind(f"network to {place}: reset", reset(place), excuses=place == "database")
    yield Kind(
        "broker: frozen, clock: killed", together(frozen("broker"), killed("clock")), excuses=False
    )
    yield Kind(
        "database: frozen, worker: killed",
        together(database_frozen, killed("worker")),
        excuses=True,
    )
    yield Kind(
        "network to web: cut, database: killed",
        together(weather("web", _cut), killed("database")),
        excuses=True,
    )


def _kinds_of_disk() -> Iterator[Kind]:
    for name, inflict in {
        "database: power cut": power_cut(),
        "everything: power cut": power_cut("broker", *PROCESSES),
        "disk: slow": disk_slow(SLOW_FLUSH),
        "disk: stalled": disk_slow(STALLED_FLUSH),
        "disk: full": disk_full,
        # Mended in this order: PostgreSQL flushes each of its files before it recovers.
        "database: killed, disk: slow": together(killed("database"), disk_slow(SLOW_FLUSH)),
    }.items():
        yield Kind(name, inflict, excuses=True, needs="disk")


def _kinds_of_clocks() -> Iterator[Kind]:
    for name, sign in {"ahead": 1, "behind": -1}.items():
        yield Kind(
            f"clocks: {name}", clock_wrong(OTHERS_CLOCK, sign), excuses=False, needs="clocks"
        )
        yield Kind(
            f"database's clock: {name}",
            clock_wrong(DATABASE_CLOCK, sign),
            excuses=True,
            needs="clocks",
            moves_time=True,
        )


KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in chain(_kinds(), _kinds_of_disk(), _kinds_of_clocks())
}
# Web judges questions about keys by its own clock, and PostgreSQL transactions by its.
WRONG_CLOCKS = frozenset(kind.name for kind in _kinds_of_clocks())


@dataclass(frozen=True)
class Fault:
    """What was done, and from when until when, in seconds since the epoch."""

    kind: str
    excuses: bool
    moves_time: bool
    began: float
    ended: float


def strike(kind: Kind, trial: Trial, chance: random.Random, seconds: float) -> Fault:
    """Do it, let it last so long, and mend it."""
    began = time.time()
    with kind.inflict(trial, chance):
        time.sleep(seconds)
    trial.look_after()
    return Fault(kind.name, kind.excuses, kind.moves_time, began, time.time())
