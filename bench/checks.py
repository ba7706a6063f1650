"""`make bench-verify`: how fast gateways are told whether a call may be let through.

One web process answers over keep-alive connections, for keys drawn after Zipf's law: as fast as it
can, at half of that, and beside a flood of unknown keys. `/healthz` and a look-up in a dictionary
are measured in the same run.
"""

import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import accumulate
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from bench import limits, report, traffic
from bench.load import OK, Address, Drive, Heard
from bench.machine import describe
from bench.stack import PROCESSES, SECONDS, Bench, a_bench, arguments, say

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CONNECTIONS, FLOOD_CONNECTIONS = 16, 8
HALF = 0.5
MODERATE_RATE = 2_500.0  # checks a second
FROM_MEMORY_SECONDS = 0.001  # a check that PostgreSQL answers takes longer
FLOOD_RATE = 2_000.0  # unknown keys a second
BESIDE_FLOOD_RATE = 1_000.0  # checks of known keys a second
KEYS_DRAWN = 50_000
CHANGES = 100
CHANGE_SECONDS = 5.0  # until a change has surely been heard
LOOK_UPS = 1_000_000

ENFORCE = "UPDATE revcred_gateway SET check_mode = 'enforce'"
# As when an admin sets the end of a credential, or takes it away.
EXPIRE = "UPDATE revcred_credential SET expires_at = now() - interval '1 day' WHERE id = %s"
RENEW = "UPDATE revcred_credential SET expires_at = NULL WHERE id = %s"


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What a client asks. `known`: keys of credentials, and otherwise such that nobody has."""

    address: Address
    credentials: int
    known: bool
    connections: int
    seconds: float
    rate: float | None = None

    def requests(self) -> list[bytes]:
        """Return requests to ask again and again, drawn after Zipf's law."""
        chance = random.Random(traffic.SEED)  # noqa: S311 - nothing secret
        if self.known:
            weights = accumulate(1 / rank**traffic.SKEW for rank in range(1, self.credentials + 1))
            ranks = chance.choices(range(self.credentials), cum_weights=list(weights), k=KEYS_DRAWN)
            keys = [traffic.key(rank * traffic.STEP % self.credentials) for rank in ranks]
        else:
            keys = [f"nobody-has-{chance.randrange(1 << 60)}" for _ in range(KEYS_DRAWN)]
        return [self._request(key) for key in keys]

    def _request(self, key: str) -> bytes:
        return (
            f"GET /v1/auth HTTP/1.1\r\nHost: {self.address.host}\r\n"
            f"X-Revcred-Token: {self.address.token}\r\nX-Api-Key: {key}\r\n"
            "X-Original-URI: /v1/tiles\r\nX-Original-Method: GET\r\n\r\n"
        ).encode()


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """What a client was told. Times in seconds, CPU in microseconds of the web process a check."""

    name: str
    rate: float
    p50: float
    p99: float
    cpu: float
    answers: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class Register:
    """The register in memory: kilobytes of a process with it, and before."""

    with_register: int
    without: int
    seconds_to_load: float

    @property
    def megabytes(self) -> float:
        return (self.with_register - self.without) / 1024


def ask(questions: Questions, pipe: "Connection[Any, Any]") -> None:
    """Ask from a process of its own, once it is told to begin."""
    requests = questions.requests()
    drive = Drive(
        questions.address,
        lambda number: requests[number % len(requests)],
        connections=questions.connections,
        seconds=questions.seconds,
        rate=questions.rate,
    )
    pipe.send(None)
    pipe.recv()
    spent = time.process_time()
    pipe.send(Heard(drive.run(), time.process_time() - spent))


@contextmanager
def ready_asker(questions: Questions) -> Iterator["Connection[Any, Any]"]:
    """Yield the pipe of a client that waits for the word."""
    ours, theirs = PROCESSES.Pipe()
    client = PROCESSES.Process(target=ask, args=(questions, theirs), daemon=True)
    client.start()
    theirs.close()
    ours.recv()
    try:
        yield ours
    finally:
        client.join(60)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each row")
    options = parser.parse_args()
    load_average = os.getloadavg()
    with a_bench(options.credentials) as bench:
        bench.database.execute(ENFORCE)
        report.about(describe(bench, load_average), options.credentials)
        wait_until_loaded(bench)
        rows = list(_rows(bench, options.seconds))
        changes = _changes(bench)
        healthz = limits.answer(bench, min(5.0, options.seconds))
        register = _register(bench)
    look_up = _look_up(options.credentials)
    _show(rows, changes, healthz, look_up, register)
    report.keep(
        checks=rows,
        check_changes=changes,
        check_register=register,
        check_healthz=healthz,
        dictionary_look_up=look_up,
    )
    return 0


def wait_until_loaded(bench: Bench) -> None:
    """Wait until a check is answered from memory: those of the database take far longer."""
    questions = _questions(bench, seconds=0.5, connections=1)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if _measure(bench, "warm-up", questions).p50 < FROM_MEMORY_SECONDS:
            break
    # Counters and caches settle.
    _measure(bench, "warm-up", _questions(bench, seconds=2))


def _rows(bench: Bench, seconds: float) -> Iterator[CheckRow]:
    one = _questions(bench, seconds=seconds, connections=1)
    yield _measure(bench, "1 connection", one)
    full = _measure(bench, "all it takes", _questions(bench, seconds=seconds))
    yield full
    half = _questions(bench, seconds=seconds, rate=HALF * full.rate)
    yield _measure(bench, "half of that", half)
    moderate = _questions(bench, seconds=seconds, rate=MODERATE_RATE)
    yield _measure(bench, f"{MODERATE_RATE:,.0f} a second", moderate)
    unknown = _questions(bench, seconds=seconds, known=False)
    yield _measure(bench, "unknown keys, all it takes", unknown)
    yield from _beside_flood(bench, seconds)


def _questions(
    bench: Bench,
    *,
    seconds: float,
    known: bool = True,
    connections: int = CONNECTIONS,
    rate: float | None = None,
) -> Questions:
    return Questions(
        address=bench.address,
        credentials=bench.credentials,
        known=known,
        connections=connections,
        seconds=seconds,
        rate=rate,
    )


def _measure(bench: Bench, name: str, questions: Questions) -> CheckRow:
    with ready_asker(questions) as asker:
        before = bench.cpu()["web"]
        asker.send(None)
        heard: Heard = asker.recv()
        spent = bench.cpu()["web"] - before
    return _row(name, heard, questions.seconds, spent, len(heard.sent))


def _beside_flood(bench: Bench, seconds: float) -> Iterator[CheckRow]:
    """Known keys at a modest rate, beside many that nobody has."""
    known = _questions(bench, seconds=seconds, rate=BESIDE_FLOOD_RATE)
    flood = _questions(
        bench, seconds=seconds, known=False, connections=FLOOD_CONNECTIONS, rate=FLOOD_RATE
    )
    alone = _measure(bench, f"{BESIDE_FLOOD_RATE:,.0f} a second", known)
    with ready_asker(known) as asker, ready_asker(flood) as flooder:
        before = bench.cpu()["web"]
        for each in (flooder, asker):
            each.send(None)
        heard: Heard = asker.recv()
        flooded: Heard = flooder.recv()
        spent = bench.cpu()["web"] - before
    checks = len(heard.sent) + len(flooded.sent)
    yield alone
    yield _row("the same beside the flood", heard, seconds, spent, checks)
    yield _row(f"the flood, {FLOOD_RATE:,.0f} a second", flooded, seconds, spent, checks)


def _row(name: str, heard: Heard, seconds: float, spent: float, checks: int) -> CheckRow:
    hundredths = quantiles((each.seconds for each in heard.sent), n=100, method="inclusive")
    answers: dict[int, int] = {}
    for each in heard.sent:
        answers[each.status] = answers.get(each.status, 0) + 1
    return CheckRow(
        name=name,
        rate=len(heard.sent) / seconds,
        p50=hundredths[49],
        p99=hundredths[98],
        cpu=spent * 1e6 / checks,
        answers=answers,
    )


def _changes(bench: Bench) -> Sequence[float]:
    """Return after how many seconds each change of a credential was in force, under half load."""
    questions = _questions(bench, seconds=CHANGES * 0.25, rate=BESIDE_FLOOD_RATE)
    with ready_asker(questions) as asker:
        asker.send(None)
        found = [_change(bench, 1 + number % bench.credentials) for number in range(CHANGES)]
        asker.recv()
    return found


def _change(bench: Bench, credential: int) -> float:
    """End a credential, and return the seconds until it is refused. Then renew it."""
    connection = HTTPConnection(bench.address.host, bench.address.port, timeout=CHANGE_SECONDS)
    headers = {"X-Revcred-Token": bench.token, "X-Api-Key": traffic.key(credential - 1)}

    def status() -> int:
        connection.request("GET", "/v1/auth", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    if status() != OK:
        message = f"Credential {credential} is refused before it has ended."
        raise RuntimeError(message)
    bench.database.execute(EXPIRE, [credential])
    began = time.monotonic()
    while status() == OK and time.monotonic() < began + CHANGE_SECONDS:
        time.sleep(0.001)
    seconds = time.monotonic() - began
    bench.database.execute(RENEW, [credential])
    connection.close()
    return seconds


def _register(bench: Bench) -> Register:
    """Return the memory of a process before and after it has loaded the register."""
    without, with_register, seconds = bench.call("bench.checks_in_process.load").split()
    return Register(
        with_register=int(with_register), without=int(without), seconds_to_load=float(seconds)
    )


def _look_up(credentials: int) -> float:
    """Return the microseconds of a look-up in a dictionary with as many keys."""
    chance = random.Random(traffic.SEED)  # noqa: S311 - nothing secret
    keys = [traffic.key(number) for number in range(credentials)]
    table = {key: number for number, key in enumerate(keys)}
    asked = [keys[chance.randrange(credentials)] for _ in range(KEYS_DRAWN)]
    began = time.perf_counter()
    for _ in range(LOOK_UPS // KEYS_DRAWN):
        for key in asked:
            table.get(key)
    return (time.perf_counter() - began) * 1e6 / LOOK_UPS


def _show(
    rows: Sequence[CheckRow],
    changes: Sequence[float],
    healthz: limits.Answered,
    look_up: float,
    register: Register,
) -> None:
    report.table(
        ["checks", "a second", "p50 ms", "p99 ms", "CPU µs a check", "answers"],
        [
            [
                row.name,
                *(f"{row.rate:,.0f}", f"{row.p50 * 1e3:,.2f}", f"{row.p99 * 1e3:,.2f}"),
                f"{row.cpu:,.0f}",
                ", ".join(f"{count:,} of {status}" for status, count in row.answers.items()),
            ]
            for row in rows
        ],
    )
    hundredths = quantiles(changes, n=100, method="inclusive")
    say(
        f"\nA change is in force after {hundredths[49] * 1e3:,.0f} ms (p99"
        f" {hundredths[98] * 1e3:,.0f} ms, of {len(changes)}), beside"
        f" {BESIDE_FLOOD_RATE:,.0f} checks a second."
        f"\nThe register takes {register.megabytes:,.0f} MB of a process, and"
        f" {register.seconds_to_load:,.1f} s to load."
        f"\n/healthz: {healthz.rate:,.0f} a second, {healthz.cpu:,.0f} µs of CPU. A look-up in a"
        f" dictionary: {look_up:.2f} µs."
        "\nClients share the cores with the web process: trust its CPU before any rate."
    )


if __name__ == "__main__":
    sys.exit(main())
