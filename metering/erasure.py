"""Erase a person from stored calls: texts are replaced, and nothing that is counted changes.

The pseudonym is also what the subscriber is called from then on, so that calls which name the
subscriber still do.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db import connection
from psycopg import sql

from metering.ledger.partitions import partitioned_days
from metering.models import DiscoveredSource
from revcred.personal_texts import (
    PersonTexts,
    TextTable,
    pattern_of_any,
    replace_in_table,
    text_tables,
)

QUARANTINE_TABLE = "metering_quarantined"
# Its trigger takes no change but of these texts, and only while it is told of one.
LEDGER = TextTable(
    name="metering_transaction",
    columns={
        "transaction_id": "text",
        "subscription_named": "text",
        "source_named": "text",
        "method": "text",
        "path": "text",
        "metadata": "jsonb",
        "names": "jsonb",
    },
)
ALLOW_LEDGER_TEXTS = "SELECT set_config('revcred.scrubbing', %s, true)"
DISCOVERED_TABLE = "metering_discoveredsource"
# Names of what is counted: their sums are kept under the same names.
COUNTED_COLUMNS = ("element", "elements")

# in: calls; out: the pseudonym in place of the subscriber that they name
PSEUDONYM = sql.SQL(
    "coalesce(%(named)s::jsonb -> (names ->> 'subscriber'),"
    " %(named)s::jsonb -> lower(names ->> 'subscriber'))"
)
REPLACE_SUBSCRIBER = """
UPDATE {table} SET names = jsonb_set(names, '{{subscriber}}', {pseudonym})
WHERE names ->> 'subscriber' IS NOT NULL AND {pseudonym} IS NOT NULL AND {within}
"""
ALL_ROWS = sql.SQL("true")
ROWS_OF_DAY = sql.SQL("occurred_at >= %(start)s AND occurred_at < %(end)s")


def erase_person(texts: PersonTexts) -> int:
    """Replace a person's texts in all tables of metering, and return the number of calls.

    A call that names the subscriber by external key, and holds another of the texts, counts twice.
    """
    found = text_tables("metering_", without_columns=COUNTED_COLUMNS)
    tables = {each.name: each for each in found}
    del tables[LEDGER.name]
    del tables[DISCOVERED_TABLE]
    if texts.everywhere:
        # Deleted: calls bring it back, and a pseudonym could be there twice.
        DiscoveredSource.objects.filter(name__iregex=pattern_of_any(texts.everywhere)).delete()
    quarantine = tables.pop(QUARANTINE_TABLE)
    for table in tables.values():
        replace_in_table(table, texts.everywhere)
    return _erase_in_ledger(texts) + _erase_in_rows(quarantine, texts)


def _erase_in_ledger(texts: PersonTexts) -> int:
    with connection.cursor() as cursor:
        cursor.execute(ALLOW_LEDGER_TEXTS, ["on"])
        # Day by day, so that no statement takes longer than one may.
        calls = sum(_erase_in_rows(LEDGER, texts, between=day) for day in _days_of_ledger())
        cursor.execute(ALLOW_LEDGER_TEXTS, ["off"])
    return calls


def _days_of_ledger() -> Iterator[tuple[datetime, datetime]]:
    for day in partitioned_days():
        start = datetime.combine(day, time.min, UTC)
        yield start, start + timedelta(days=1)


def _erase_in_rows(
    table: TextTable, texts: PersonTexts, *, between: tuple[datetime, datetime] | None = None
) -> int:
    start, end = between or (None, None)
    values: dict[str, Any] = {"named": json.dumps(dict(texts.named_by_calls))}
    statement = sql.SQL(REPLACE_SUBSCRIBER).format(
        table=sql.Identifier(table.name),
        pseudonym=PSEUDONYM,
        within=ROWS_OF_DAY if between else ALL_ROWS,
    )
    calls = replace_in_table(table, texts.everywhere, between=between)
    # What is left is an external key, or an address that something else is called by, too.
    with connection.cursor() as cursor:
        cursor.execute(statement, values | {"start": start, "end": end})
        return calls + int(cursor.rowcount)
