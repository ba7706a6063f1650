"""A month behind us: ledger, memory and usage as if gateways had posted day after day.

It is written by PostgreSQL itself, day by day, with the indexes built when a day is full. A call's
key is drawn after the same Zipf's law as the traffic's. Columns that are not named here are NULL,
or what they are by default.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import psycopg

from bench.sizes import PRODUCTS, customers_of
from bench.stack import Bench, say
from bench.traffic import SKEW, STEP

DAYS = 31
CLIENTS = 2
BUSY = 7  # the subscription that was used every hour of a year …
KEYS_OF_BUSY = 10  # … by so many credentials

NOT_READY = (
    "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = %s::regclass"
)
COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass"

# One row for each of a day's calls: its number, its moment, the digits that its id is made of, and
# whose credential it bore: by the credential's rank, as the clients draw it.
CALLS = f"""
    SELECT
        n, digits, %(day)s::timestamptz + ms * interval '1 millisecond' AS at,
        %(epoch)s + ms AS epoch, credential, 1 + credential %% %(customers)s AS customer
    FROM (
        SELECT
            n, md5(n::text) AS digits, (n - %(first)s) * 86400000 / %(count)s AS ms,
            1 + least(
                floor(power(1 - random() * %(mass)s, %(exponent)s))::bigint, %(credentials)s
            ) * {STEP} %% %(credentials)s AS credential
        FROM generate_series(%(first)s::bigint, %(first)s + %(count)s - 1) n
        OFFSET 0
    ) drawn
"""  # noqa: S608 - composed of constants of its own

LEDGER = {
    # A version 7 UUID, as of a call that has just come in.
    "id": "overlay(digits PLACING lpad(to_hex(epoch), 12, '0') || '7000a' FROM 1)::uuid",
    "gateway_id": "%(gateway)s",
    "transaction_id": "'history-' || n",
    "occurred_at": "at",
    "received_at": "at + interval '1 second'",
    "subscription_named": "''",
    "source_named": "''",
    "method": "'GET'",
    "path": "'/v1/routes/fastest/' || n %% 10000",
    "status": "200",
    "request_bytes": "200 + n %% 1800",
    "response_bytes": "500 + n %% 50000",
    "latency_ms": "(n %% 30000) / 100.0",
    "elements": """'{"calls": 1}'""",
    "attributed_at": "at + interval '2 seconds'",
    "matched_by": "'key'",
    "external_key_id": "credential",
    "credential_id": "credential",
    "assignment_id": "credential",
    "subscription_id": "customer",
    "customer_id": "customer",
    "product_id": f"1 + customer %% {PRODUCTS}",
    "sign": "1",
}
# Whatever the dedup_keys are: those of ids that are asked for are written by `bench.in_process`.
MEMORY = """
INSERT INTO metering_seentransaction
    (dedup_key, transaction, content_hash, occurred_at, received_at)
SELECT md5(transaction_id)::uuid, id, id, occurred_at, received_at FROM {day}
"""
COUNTED = ("subscription_id", "hour", "credential_id", "customer_id", "product_id")
USAGE = f"""
INSERT INTO metering_usage ({", ".join(COUNTED)}, element, count, quantity)
SELECT
    subscription_id, date_trunc('hour', occurred_at, 'UTC'), credential_id, customer_id,
    product_id, 'calls', sum(sign), sum(sign)
FROM {{day}} GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608 - composed of constants of its own
YEAR = f"""
INSERT INTO metering_usage ({", ".join(COUNTED)}, element, count, quantity)
SELECT
    %(subscription)s, hour, %(subscription)s - 1 + place * %(customers)s, %(subscription)s,
    1 + %(subscription)s %% {PRODUCTS}, 'calls', 10 + place, 10 + place
FROM
    generate_series(%(start)s::timestamptz, %(end)s - interval '1 hour', '1 hour') hour,
    generate_series(1, least(%(keys)s, %(credentials)s / %(customers)s - 1)) place
"""  # noqa: S608 - composed of constants of its own

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Month:
    """Writes it: `transactions` in all, the same number each day."""

    bench: Bench
    transactions: int

    @property
    def count(self) -> int:
        """Of a day."""
        return self.transactions // DAYS

    def write(self) -> None:
        today = datetime.now(UTC).date()
        days = [today - timedelta(days=n) for n in range(DAYS, 0, -1)]
        parts = ["metering_usage", *self._partitions("metering_seentransaction")]
        with connected(self.bench) as connection:
            for table in parts:
                connection.execute(NOT_READY, [table])
        self._all_at_once(partial(self._write_day, n, day) for n, day in enumerate(days))
        say(f"… {self.count * DAYS:,} transactions written; indexes of memory and usage.")
        self._write_year(days[0])
        self._all_at_once(partial(self._finish, table) for table in parts)
        self.bench.database.execute("CHECKPOINT")
        os.sync()  # or the disk would be busy with it for minutes to come

    def _write_day(self, number: int, day: date, connection: Connection) -> None:
        table = f"metering_transaction_{day:%Y%m%d}"
        given = self._given(number, day)
        connection.execute(NOT_READY, [table])
        _insert_calls(connection, table, given)
        self._finish(table, connection)
        for statement in (USAGE, MEMORY):
            connection.execute(statement.format(day=table).encode())

    def _write_year(self, until: date) -> None:
        credentials = self.bench.credentials
        given = {
            "subscription": BUSY,
            "keys": KEYS_OF_BUSY,
            "credentials": credentials,
            "customers": customers_of(credentials),
            "start": until - timedelta(days=366 - DAYS),
            "end": datetime.combine(until, datetime.min.time(), UTC),
        }
        with connected(self.bench) as connection:
            connection.execute(YEAR.encode(), given)

    def _finish(self, table: str, connection: Connection) -> None:
        """While its pages are still in memory. It leaves autovacuum nothing to do later."""
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}".encode())
        connection.execute(f"REINDEX TABLE {table}".encode())

    def _given(self, number: int, day: date) -> dict[str, object]:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        credentials = self.bench.credentials
        return {
            "day": midnight,
            "epoch": int(midnight.timestamp() * 1e3),
            "first": number * self.count,
            "count": self.count,
            "credentials": credentials,
            "customers": customers_of(credentials),
            "mass": 1 - credentials ** (1 - SKEW),
            "exponent": 1 / (1 - SKEW),
            "gateway": self.bench.ask("SELECT min(id) FROM revcred_gateway"),
        }

    def _partitions(self, table: str) -> list[str]:
        return [name for (name,) in self.bench.database.execute(PARTITIONS, [table]).fetchall()]

    def _all_at_once(self, works: Iterable[Callable[[Connection], None]]) -> None:
        """As many at a time as there are clients."""

        def do(work: Callable[[Connection], None]) -> None:
            with connected(self.bench) as connection:
                work(connection)

        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(do, works))


def load(bench: Bench, transactions: int) -> float:
    """Writes it all, and says how many seconds it took."""
    began = time.monotonic()
    Month(bench, transactions).write()
    return time.monotonic() - began


def connected(bench: Bench) -> Connection:
    # Numbers are written into the statement, so that PostgreSQL sees which type they are of.
    connection = psycopg.connect(
        bench.environment["MIGRATION_DATABASE_URL"],
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
    )
    connection.execute("SET maintenance_work_mem = '1GB'")
    connection.execute("SET work_mem = '512MB'")
    return connection


def _insert_calls(connection: Connection, table: str, given: Mapping[str, object]) -> None:
    """With those columns that the ledger has."""
    there = {name for (name,) in connection.execute(COLUMNS, [table]).fetchall()}
    said = {name: value for name, value in LEDGER.items() if name in there}
    statement = (
        f"INSERT INTO {table} ({', '.join(said)}) SELECT {', '.join(said.values())}"  # noqa: S608
        f" FROM ({CALLS}) call"
    )
    connection.execute(statement.encode(), given)
