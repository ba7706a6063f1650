"""What this machine could do at best: rows into the ledger's tables, answers out of the server."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import psycopg

from bench.load import OK, ask_nothing
from bench.stack import PROCESSES, Bench

CLIENTS = 2
MOST_ROWS = 300_000
CHUNK = 5_000  # rows a commit: as many as a batch has
CONNECTIONS = 16

SOME = "COPY (SELECT * FROM metering_transaction LIMIT %s) TO STDOUT"
PARTITIONS = """
SELECT inhrelid::regclass::text, pg_get_expr(relpartbound, inhrelid)
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'metering_transaction'::regclass
"""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """The ledger's own rows, into a copy of it with the same indexes and partitions."""

    rows: int
    rate: float  # rows a second, by two clients
    cpu: float  # PostgreSQL's microseconds a row


@dataclass(frozen=True, kw_only=True)
class Answered:
    """GET /healthz over the same clients: routing and middleware, and nothing else."""

    rate: float  # answers a second
    p50: float
    cpu: float  # the web process's microseconds an answer


def copy(bench: Bench) -> Copied:
    lines = _lines_of_ledger(bench)
    _make_copy_of_ledger(bench)
    bench.database.execute("CHECKPOINT")
    shares = [lines[number::CLIENTS] for number in range(CLIENTS)]
    before, began = bench.cpu()["database"], perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda share: _copy_in(bench, share), shares))
    seconds, spent = perf_counter() - began, bench.cpu()["database"] - before
    bench.database.execute("DROP TABLE bench_ledger")
    return Copied(rows=len(lines), rate=len(lines) / seconds, cpu=spent * 1e6 / len(lines))


def _lines_of_ledger(bench: Bench) -> list[bytes]:
    with bench.database.cursor().copy(SOME, [MOST_ROWS]) as copy:
        return b"".join(map(bytes, copy)).splitlines(keepends=True)


def _make_copy_of_ledger(bench: Bench) -> None:
    bench.database.execute(
        "CREATE TABLE bench_ledger (LIKE metering_transaction INCLUDING ALL)"
        " PARTITION BY RANGE (occurred_at)"
    )
    for name, bound in bench.database.execute(PARTITIONS).fetchall():
        copied = name.replace("metering_transaction", "bench_ledger")
        bench.database.execute(f"CREATE TABLE {copied} PARTITION OF bench_ledger {bound}")


def _copy_in(bench: Bench, lines: list[bytes]) -> None:
    chunks = [b"".join(lines[at : at + CHUNK]) for at in range(0, len(lines), CHUNK)]
    url = bench.environment["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for chunk in chunks:
            with cursor.copy("COPY bench_ledger FROM STDIN") as copy:
                copy.write(chunk)


def answer(bench: Bench, seconds: float) -> Answered:
    ours, theirs = PROCESSES.Pipe()
    arguments = (bench.address, CONNECTIONS, seconds, theirs)
    client = PROCESSES.Process(target=ask_nothing, args=arguments, daemon=True)
    client.start()
    theirs.close()
    ours.recv()
    before = bench.cpu()["web"]
    ours.send(None)
    sent = [each for each in ours.recv().sent if each.status == OK]
    spent = bench.cpu()["web"] - before
    client.join()
    return Answered(
        rate=len(sent) / seconds,
        p50=median(each.seconds for each in sent),
        cpu=spent * 1e6 / len(sent),
    )
