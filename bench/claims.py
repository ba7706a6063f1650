"""How soon what waits in quarantine is its owner's, once there is one: `python -m bench.claims`.

Twice: undisturbed, and with the worker and a process of PostgreSQL killed in the middle.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from bench.stack import Bench, a_bench, arguments, say
from revcred.launcher.errors import LaunchError

WAITING = 100_000  # transactions of one key
CREDENTIALS = 1_000
GOAL = 60.0  # seconds

FILL = """
INSERT INTO metering_quarantined (
    id, gateway_id, transaction_id, occurred_at, received_at, subscription_named, source_named,
    method, path, status, elements, fingerprint, hint, reason, quarantined_at, error, released_by,
    release_note
)
SELECT
    time_ordered_id(), (SELECT min(id) FROM revcred_gateway), %(name)s || '-' || n,
    clock_timestamp() - interval '1 second' * (n %% 864000), clock_timestamp(), '', '', 'GET',
    '/v1/tiles/' || n, 200, '{"calls": 1, "megabytes": 0.125}', %(fingerprint)s, 'wait',
    'unknown_key', clock_timestamp(), '', '', ''
FROM generate_series(1, %(waiting)s) n
"""

ACCOUNT = """
SELECT
    count(*), count(*) - count(DISTINCT transaction_id),
    (SELECT count(*) FROM metering_quarantined WHERE starts_with(transaction_id, %(prefix)s))
FROM metering_transaction WHERE starts_with(transaction_id, %(prefix)s)
"""

BACKEND = "SELECT pid FROM pg_stat_activity WHERE application_name = 'revcred' LIMIT 1"


@dataclass(frozen=True)
class Claimed:
    name: str
    seconds: float
    attributed: int
    twice: int
    left: int
    usage: str  # what verify_usage says

    @property
    def holds(self) -> bool:
        wrong = self.twice or self.left or self.attributed != WAITING
        return not wrong and self.usage.endswith(" 0 differences.") and self.seconds <= GOAL


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    with a_bench(parser.parse_args().credentials) as bench:
        done = [
            measure(bench, "undisturbed", lambda _: None),
            measure(bench, "killed", kill_in_the_middle),
        ]
    for each in done:
        say(
            f"{each.name}: {each.attributed:,} attributed in {each.seconds:.1f} s,"
            f" {each.left:,} left, {each.twice:,} twice. {each.usage}"
        )
    return 0 if all(each.holds for each in done) else 1


def measure(bench: Bench, name: str, disturb: Callable[[Bench], None]) -> Claimed:
    """Seconds from the act's commit until nothing of it waits any more."""
    key = f"the-key-of-{name}"
    arguments = {"name": name, "fingerprint": inside(bench, f"mark({key!r})"), "waiting": WAITING}
    bench.database.execute(FILL, arguments)
    bench.database.execute("ANALYZE metering_quarantined")
    bench.database.execute("CHECKPOINT")
    say(f"{WAITING:,} wait in quarantine.")
    began = float(inside(bench, f"own({key!r})"))
    disturb(bench)
    bench.wait_until(lambda: not bench.ask("SELECT count(*) FROM metering_quarantined"))
    seconds = time.time() - began
    row = bench.database.execute(ACCOUNT, {"prefix": f"{name}-"}).fetchone()
    assert row
    attributed, twice, left = row
    return Claimed(name, seconds, attributed, twice, left, verified(bench))


def inside(bench: Bench, said: str) -> str:
    """What a function of bench.waiting prints, run where the application is configured."""
    script = f"from bench import waiting; waiting.{said}"
    return bench.manage("shell", "--no-imports", "--command", script)


def kill_in_the_middle(bench: Bench) -> None:
    """The worker, and a process of PostgreSQL, with which all of PostgreSQL starts again."""
    bench.wait_until(lambda: bench.ask("SELECT count(*) FROM metering_quarantined") < WAITING / 2)
    bench.kill("worker")
    os.kill(int(bench.ask(BACKEND)), signal.SIGKILL)
    bench.database.close()
    del bench.database  # it ended with the others
    bench.start("worker")
    bench.wait_until(lambda: is_back(bench))


def is_back(bench: Bench) -> bool:
    """Whether PostgreSQL takes connections again."""
    try:
        return bool(bench.ask("SELECT true"))
    except psycopg.OperationalError:
        return False


def verified(bench: Bench) -> str:
    try:
        return bench.manage("verify_usage")
    except LaunchError as problem:
        return str(problem)


if __name__ == "__main__":
    sys.exit(main())
