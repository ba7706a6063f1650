"""Calls through gateways whose logs the agent sends, and what is done to all three meanwhile.

Each call has a path of its own. Those that the backend answered are looked up in the end: each has
to be in the ledger once, under the customer whose key it showed.
"""

import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from queue import Empty, SimpleQueue

import psycopg

from conformance import leaks
from conformance.gateways.callers import CUSTOMER, OTHER_CUSTOMER, Key
from conformance.gateways.cases import Call, make_call
from conformance.gateways.recipes import Places, Recipe, Rotation
from conformance.gateways.upstream import Switch
from metering.agent import revcred_agent
from revcred.launcher.processes import ChildProcess
from revcred.launcher.stack import Stack
from revcred.launcher.web import WEB_HOST

CALLERS = {Key.GOOD: CUSTOMER, Key.OTHER: OTHER_CUSTOMER}
SETTLED_SECONDS = 120.0  # within which all that was logged has to be counted
COUNTED = """
SELECT path, c.external_key, count(*) FROM metering_transaction t
JOIN revcred_customer c ON c.id = t.customer_id
WHERE path LIKE %(under)s AND sign = 1 AND corrects IS NULL GROUP BY 1, 2
"""
UNCOUNTED = "SELECT path, count(*) FROM metering_quarantined WHERE path LIKE %(under)s GROUP BY 1"


# Programs that the main thread is asked to restart: what a thread starts ends with that thread.
Restarts = SimpleQueue[tuple[ChildProcess, threading.Event]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many calls each gateway gets, and how long the product is away."""

    calls: int
    away_seconds: float
    seconds_per_call: float


LONG = Plan(calls=1_000, away_seconds=60.0, seconds_per_call=0.12)
SHORT = Plan(calls=200, away_seconds=5.0, seconds_per_call=0.1)


@dataclass(frozen=True, kw_only=True)
class MadeCall:
    """A call that the gateway has answered."""

    path: str
    key: Key
    phase: str  # what was the matter when it was made


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of the calls that were made in one phase."""

    gateway: str
    phase: str
    calls: int
    lost: int
    doubled: int
    wrong: int  # counted for somebody else, or for nobody

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


@dataclass
class AgentProcess:
    """The agent of one gateway: it follows its log, or is its beacon."""

    places: Places
    url: str
    command: Sequence[str]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def directory(self) -> Path:
        return self.places.directory.with_name(f"agent-of-{self.places.directory.name}")

    @property
    def log(self) -> Path:
        return self.directory / "agent.log"

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        token = self.directory / "token"
        token.write_text(self.places.token)
        token.chmod(0o600)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - the agent
                [
                    *(sys.executable, revcred_agent.__file__, *self.command),
                    *("--url", self.url, "--token-file", str(token)),
                    *("--state", str(self.directory / "state")),
                ],
                stderr=output,
            )

    def hand_on(self) -> None:
        """Make it a new process, which goes on listening at the same socket."""
        assert self.process
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


@dataclass
class Traffic:
    """Calls through one gateway, one after the other, and what happens to its log and its agent."""

    recipe: Recipe
    places: Places
    child: ChildProcess
    agent: AgentProcess
    plan: Plan
    restarts: Restarts
    made: list[MadeCall] = field(default_factory=list)
    phase: str = "undisturbed"
    rotations: int = 0
    # Held while a log is copied and emptied: what is written in between is lost to any reader.
    writing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def log(self) -> Path:
        return self.places.directory / self.recipe.log

    def run(self, faults: Mapping[int, tuple[str, Callable[["Traffic"], None]]]) -> None:
        """Make all calls; before those with these numbers, do something to it."""
        for number in range(self.plan.calls):
            if number in faults:
                self.phase, fault = faults[number]
                fault(self)
            self._call(number)
            time.sleep(self.plan.seconds_per_call)

    def _call(self, number: int) -> None:
        key = (Key.GOOD, Key.OTHER)[number % 2]
        path = f"/maps/{self.name.lower()}/{number:06}"
        with self.writing:
            outcome = make_call(self.places.port, Call(key=key, path=path))
        if outcome.status == HTTPStatus.OK:
            self.made.append(MadeCall(path=path, key=key, phase=self.phase))

    def rotate(self) -> None:
        """Put the log aside as its gateway's operator would, and compress it at once."""
        self.rotations += 1
        aside = self.log.with_name(f"{self.log.name}.{self.rotations}")
        if self.recipe.rotation == Rotation.COPY:
            with self.writing:
                # What the gateway has not written yet would come into the copy or be lost.
                # HAProxy escapes slashes.
                parts = map(re.escape, self.made[-1].path.encode().split(b"/"))
                latest = re.compile(rb"\\?/".join(parts))
                _wait_until(lambda: latest.search(self.log.read_bytes()) is not None)
                aside.write_bytes(self.log.read_bytes())
                os.truncate(self.log, 0)
        else:
            self.log.rename(aside)
            self.child.process.send_signal(signal.SIGUSR1)
            _wait_until(self.log.exists)
        aside.with_name(f"{aside.name}.gz").write_bytes(gzip.compress(aside.read_bytes()))
        if self.recipe.rotation == Rotation.COPY:
            aside.unlink()  # a renamed one may still be written to for a moment

    def restart_gateway(self) -> None:
        """Restart it as its operator would, so that no call is cut off."""
        if self.recipe.reload:
            self.child.process.send_signal(self.recipe.reload)
            return
        is_back = threading.Event()
        self.restarts.put((self.child, is_back))
        is_back.wait()
        call = Call(key=Key.UNKNOWN, path="/maps/is-it-there")
        _wait_until(lambda: make_call(self.places.port, call).status == HTTPStatus.UNAUTHORIZED)

    def kill_agent(self) -> None:
        self.agent.kill()
        self.agent.start()


def _wait_until(done: Callable[[], bool], max_seconds: float = 60.0) -> None:
    deadline = time.monotonic() + max_seconds
    while not done():
        if time.monotonic() > deadline:
            message = f"Waited {max_seconds:.0f} s in vain."
            raise TimeoutError(message)
        time.sleep(0.02)


def faults_of(recipe: Recipe, plan: Plan) -> dict[int, tuple[str, Callable[[Traffic], None]]]:
    """Return what is done to each gateway, its log and its agent, by the number of the call."""

    def die_through_rotation(traffic: Traffic) -> None:
        traffic.agent.kill()
        traffic.rotate()

    tenth = plan.calls // 10
    if recipe.sends_otlp:
        # What a beacon has not answered is in the gateway's memory alone: it is never killed.
        return {
            2 * tenth: ("beacon handed on", lambda traffic: traffic.agent.hand_on()),
            4 * tenth: ("revcred away", lambda _: None),
            6 * tenth: ("away, beacon handed on", lambda traffic: traffic.agent.hand_on()),
            9 * tenth: ("at the end", lambda _: None),
        }
    return {
        tenth: ("rotated", Traffic.rotate),
        2 * tenth: ("gateway restarted", Traffic.restart_gateway),
        3 * tenth: ("agent killed", Traffic.kill_agent),
        4 * tenth: ("revcred away", lambda _: None),
        5 * tenth: ("revcred away, rotated", Traffic.rotate),
        7 * tenth: ("agent dead, rotated", die_through_rotation),
        8 * tenth: ("agent back", lambda traffic: traffic.agent.start()),
        9 * tenth: ("at the end", lambda _: None),
    }


def run(
    gateways: Sequence[tuple[Recipe, Places, ChildProcess]], stack: Stack, plan: Plan
) -> list[Result]:
    """Make the calls through all gateways at once, and return what became of them."""
    with ExitStack() as closing_later:
        switch = closing_later.enter_context(closing(Switch(stack.port)))
        url = f"http://{WEB_HOST}:{switch.port}"
        all_traffic, restarts = [], Restarts()
        for recipe, places, child in gateways:
            if recipe.sends_otlp:
                command = ["listen", "--address", f"{WEB_HOST}:{places.beacon_port}"]
            else:
                command = ["follow", str(places.directory / f"{recipe.log}*")]
            agent = AgentProcess(places, url, command)
            closing_later.callback(agent.stop)
            all_traffic.append(Traffic(recipe, places, child, agent, plan, restarts))
            agent.start()
            if recipe.sends_otlp:
                _wait_until(partial(_listens, places.beacon_port))
        pool = closing_later.enter_context(ThreadPoolExecutor(len(all_traffic) + 1))
        running = [
            *(pool.submit(each.run, faults_of(each.recipe, plan)) for each in all_traffic),
            pool.submit(_go_away, switch, all_traffic, plan),
        ]
        _restart_while_running(running, restarts)
        for each in running:
            each.result()
        return [result for traffic in all_traffic for result in _results(traffic, stack)]


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((WEB_HOST, port)):
        return True
    return False


def _restart_while_running(running: Sequence[Future[None]], restarts: Restarts) -> None:
    """Restart what is asked for, until all of them have ended."""
    while not all(each.done() for each in running):
        with suppress(Empty):
            child, is_back = restarts.get(timeout=0.05)
            child.process.terminate()
            child.process.wait()
            child.start()
            is_back.set()


def _go_away(switch: Switch, all_traffic: Sequence[Traffic], plan: Plan) -> None:
    """Take revcred away from the agents once every gateway is that far, for as long as planned."""
    while not all(traffic.phase.startswith("revcred away") for traffic in all_traffic):
        if any(len(traffic.made) > plan.calls * 0.55 for traffic in all_traffic):
            break
        time.sleep(0.02)
    switch.turn_off()
    time.sleep(plan.away_seconds)
    switch.turn_on()


def _results(traffic: Traffic, stack: Stack) -> Iterator[Result]:
    """Wait until nothing more is counted, and compare."""
    under = f"/maps/{traffic.name.lower()}/%"
    expected = {made.path: made for made in traffic.made}
    deadline = time.monotonic() + SETTLED_SECONDS
    with psycopg.connect(stack.environment["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        while time.monotonic() < deadline:
            counted = database.execute(COUNTED, {"under": under}).fetchall()
            if expected.keys() <= {path for path, _, _ in counted}:
                break
            time.sleep(0.5)
        time.sleep(2)  # in which something might be counted twice
        counted = database.execute(COUNTED, {"under": under}).fetchall()
        uncounted = database.execute(UNCOUNTED, {"under": under}).fetchall()
    times: Counter[str] = Counter()
    wrong = Counter({str(path): int(number) for path, number in uncounted})
    for path, customer, number in counted:
        times[path] += number
        if path in expected and customer != CALLERS[expected[path].key]:
            wrong[path] += number
    for phase in dict.fromkeys(made.phase for made in traffic.made):
        paths = [made.path for made in traffic.made if made.phase == phase]
        yield Result(
            gateway=traffic.name,
            phase=phase,
            calls=len(paths),
            lost=sum(not times[path] for path in paths),
            doubled=sum(times[path] > 1 for path in paths),
            wrong=sum(bool(wrong[path]) for path in paths),
        )


def keys_found(stack: Stack, logs: Sequence[Path]) -> list[str]:
    """Return the keys that stand in a table or in these logs of ours."""
    with psycopg.connect(stack.environment["MIGRATION_DATABASE_URL"]) as database:
        stored = leaks.everything(database.cursor())
    written = "\n".join(log.read_text(errors="replace") for log in logs)
    return leaks.hits(f"{stored}\n{written}", [*Key])


def table_of(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a table: gateway, fault, calls, lost, doubled, wrong."""
    line = "{:13}  {:22}  {:>6}  {:>5}  {:>7}  {:>5}".format
    yield line("gateway", "meanwhile", "calls", "lost", "doubled", "wrong")
    for each in results:
        yield line(each.gateway, each.phase, each.calls, each.lost, each.doubled, each.wrong)
