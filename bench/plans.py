"""How PostgreSQL finds what attribution looks up, and whether it ever reads a large table whole."""

import re
from collections.abc import Iterator
from typing import Any

import psycopg

from bench.stack import Bench
from metering.attribution.statements import process_untried_statement

LARGE = 10_000  # rows
MOST = 5_000  # transactions, as a worker asks for
PARTITION = re.compile(r"_\d+(?=_|$)")  # which one, in a name: a day, or a part of the memory

WHOLE = """
SELECT relname, seq_tup_read FROM pg_stat_user_tables
WHERE relid IN (SELECT oid FROM pg_class WHERE reltuples >= %s) AND relname <> 'bench_sent'
"""


def look_ups(bench: Bench) -> list[str]:
    """Each way to a table that attribution takes, once."""
    with psycopg.ClientCursor(bench.database) as cursor:
        statement = f"EXPLAIN (FORMAT JSON) {process_untried_statement(MOST)}".encode()
        cursor.execute(statement, {})
        row = cursor.fetchone()
    assert row
    ways = (node for node in _nodes(row[0][0]["Plan"]) if "Scan" in node["Node Type"])
    return sorted({_said(node) for node in ways if "Relation Name" in node})


def large_read_whole(bench: Bench, plan: list[str]) -> list[str]:
    """Those of these ways that read a large table from its beginning to its end."""
    rows = bench.database.execute("SELECT relname FROM pg_class WHERE reltuples >= %s", [LARGE])
    large = {PARTITION.sub("", name) for (name,) in rows.fetchall()}
    return [line for line in plan if line.startswith("Seq Scan") and line.split()[-1] in large]


def rows_read_whole(bench: Bench) -> dict[str, int]:
    """How many rows of each large table have been read in passing through all of it."""
    bench.database.execute("SELECT pg_stat_force_next_flush()")  # of what we asked ourselves
    return dict(bench.database.execute(WHOLE, [LARGE]).fetchall())


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for each in node.get("Plans", ()):
        yield from _nodes(each)


def _said(node: dict[str, Any]) -> str:
    by = f" by {PARTITION.sub('', node['Index Name'])}" if "Index Name" in node else ""
    return f"{node['Node Type']}{by} on {PARTITION.sub('', node['Relation Name'])}"
