"""One row of the table: load for some seconds, and what it came to."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import quantiles
from time import process_time
from typing import TYPE_CHECKING, Any, Protocol

from bench.cpu import of_machine
from bench.load import ACCEPTED, Heard, Plan, Sent, post
from bench.stack import PROCESSES, Bench
from revcred.launcher.stack import STACK_POLL_SECONDS

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

CAREFUL_FOR = 6.0  # seconds, and a little: see metering.attribution.Care
WARM_UP = 0.2  # of the seconds, in which caches fill and the inbox too
CONNECTIONS = {1: 64, 100: 16, 1_000: 4}
MAX_BACKLOG = {1: 2_000, 100: 20_000, 1_000: 20_000}  # about a second's worth

# From the 202 to the commit of what processed it: PostgreSQL's own clock of commits.
LAGS = """
SELECT
    percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (
        ORDER BY extract(epoch FROM pg_xact_commit_timestamp(processed.xmin)) - sent.answered_at
    )
FROM (
    SELECT transaction_id, min(answered_at) AS answered_at FROM bench_sent
    WHERE starts_with(transaction_id, %s) GROUP BY 1
) sent
JOIN (
    -- Nothing sent says it was earlier; what was before need not be read.
    SELECT transaction_id, xmin FROM metering_transaction
    WHERE occurred_at >= to_timestamp(%s) - interval '10 minutes'
    UNION ALL SELECT transaction_id, xmin FROM metering_quarantined
) processed USING (transaction_id)
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    name: str
    batch: int
    seconds: float
    rate: float | None = None  # transactions a second; None: as many as are attributed
    port: int | None = None  # None: the web's

    @property
    def prefix(self) -> str:
        return f"{self.name}-{self.batch}"


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    batch: int
    connections: int
    seconds: float
    offered: float | None  # transactions a second
    accepted: float  # the same
    attributed: float  # or quarantined, or known to be a repeat
    post_p50: float
    post_p99: float
    lag_p50: float | None
    lag_p99: float | None
    cpu: dict[str, float]  # microseconds a transaction
    foreign: float  # the share of the machine's time that others took meanwhile
    answers: dict[int, int]

    @property
    def cpu_of_all(self) -> float:
        """Of the system; the generator is not part of it."""
        return sum(spent for name, spent in self.cpu.items() if name != "generator")


@dataclass(frozen=True)
class Took:
    """What was seen, before it is made into figures."""

    heard: Heard
    progress: list[tuple[float, int]]  # moments, and transactions processed by then
    cpu: dict[str, float]  # seconds
    foreign: float


class Measured(Protocol):
    """What is under load: ours, or the yardstick beside it."""

    def cpu(self) -> dict[str, float]:
        """Seconds so far, by process."""

    def processed(self) -> int:
        """Transactions so far. Asked all the time, so it has to be cheap."""

    def wait_until_processed(self) -> None: ...


def measure(bench: Bench, load: Load) -> Row:
    plan = plan_of(bench, load)
    took = watch(plan, bench)
    keep_record(bench, plan)
    return row_of(load, plan, took, _lags(bench, load, took))


def warm_up(bench: Bench) -> None:
    """Until the worker is no longer new, and processes as it does from then on."""
    measure(bench, Load(name="warm-up", batch=1, seconds=1, rate=10))
    time.sleep(CAREFUL_FOR)


def watch(plan: Plan, measured: Measured) -> Took:
    """Sends what is planned, and waits until it is processed."""
    processed = PROCESSES.Value("q", 0, lock=False)
    ours, theirs = PROCESSES.Pipe()
    client = PROCESSES.Process(target=post, args=(plan, processed, theirs), daemon=True)
    client.start()
    theirs.close()
    ours.recv()
    before, base = measured.cpu(), measured.processed()
    machine, own = of_machine(), process_time()
    ours.send(None)
    heard, progress = _follow(measured, ours, processed, base)
    measured.wait_until_processed()
    spent = {name: after - before[name] for name, after in measured.cpu().items()}
    spent["generator"] = heard.cpu
    foreign = _foreign(machine, sum(spent.values()) + process_time() - own)
    client.join()
    return Took(heard, progress, spent, foreign)


def plan_of(bench: Bench, load: Load) -> Plan:
    return Plan(
        address=replace(bench.address, port=load.port or bench.port),
        prefix=load.prefix,
        batch=load.batch,
        connections=CONNECTIONS[load.batch],
        seconds=load.seconds,
        credentials=bench.credentials,
        most_waiting=MAX_BACKLOG[load.batch],
        record=bench.logs / f"sent-{load.prefix}",
        rate=load.rate and load.rate / load.batch,
    )


def _follow(
    measured: Measured, client: "Connection[Any, Any]", processed: "Synchronized[int]", base: int
) -> tuple[Heard, list[tuple[float, int]]]:
    """Tells the client how far the worker is, until it is done. Answers with that, too."""
    progress = []
    while not client.poll(STACK_POLL_SECONDS):
        processed.value = measured.processed() - base
        progress.append((time.time(), processed.value))
    heard: Heard = client.recv()
    return heard, progress


def keep_record(bench: Bench, plan: Plan) -> None:
    assert plan.record
    with (
        bench.database.cursor() as cursor,
        cursor.copy("COPY bench_sent FROM STDIN") as copy,
        plan.record.open("rb") as file,
    ):
        while data := file.read(1 << 20):
            copy.write(data)
    bench.database.execute("ANALYZE bench_sent")
    plan.record.unlink()


def _lags(bench: Bench, load: Load, took: Took) -> tuple[float, float]:
    began = min(each.began for each in took.heard.sent)
    row = bench.database.execute(LAGS.encode(), [f"{load.prefix}-", began]).fetchone()
    assert row
    p50, p99 = row[0] or (0.0, 0.0)
    return float(p50), float(p99)


def row_of(load: Load, plan: Plan, took: Took, lags: tuple[float | None, float | None]) -> Row:
    sent = took.heard.sent
    accepted = [each for each in sent if each.status == ACCEPTED]
    began = min(each.began for each in sent)
    start, end = began + WARM_UP * load.seconds, began + load.seconds
    within = [each for each in accepted if start <= each.ended < end]
    if not within:
        message = f"Nothing was accepted: {Counter(each.status for each in sent)}"
        raise RuntimeError(message)
    transactions = len(accepted) * load.batch
    post_p50, post_p99 = _percentiles(within)
    lag_p50, lag_p99 = lags
    return Row(
        name=load.name,
        batch=load.batch,
        connections=plan.connections,
        seconds=load.seconds,
        offered=load.rate,
        accepted=len(within) * load.batch / (end - start),
        attributed=_growth(took.progress, start, end),
        post_p50=post_p50,
        post_p99=post_p99,
        lag_p50=lag_p50,
        lag_p99=lag_p99,
        cpu={name: spent * 1e6 / transactions for name, spent in took.cpu.items()},
        foreign=took.foreign,
        answers=dict(Counter(each.status for each in sent)),
    )


def _foreign(since: tuple[float, float], ours: float) -> float:
    busy, total = (now - then for now, then in zip(of_machine(), since, strict=True))
    return max(0.0, busy - ours) / total


def _percentiles(sent: Sequence[Sent]) -> tuple[float, float]:
    seconds = [each.seconds for each in sent]
    if len(seconds) == 1:
        return seconds[0], seconds[0]
    hundredths = quantiles(seconds, n=100, method="inclusive")
    return hundredths[49], hundredths[98]


def _growth(progress: Sequence[tuple[float, int]], start: float, end: float) -> float:
    """How much a second, from one processing's end to another's: they come in thousands."""
    pairs = pairwise(progress)
    steps = [now for before, now in pairs if now[1] > before[1] and start <= now[0] < end]
    if len(steps) < 2:  # noqa: PLR2004 - a start and an end
        return 0.0
    (first_at, first), (last_at, last) = steps[0], steps[-1]
    return (last - first) / (last_at - first_at)
