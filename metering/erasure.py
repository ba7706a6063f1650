"""Erase a person from stored calls: texts are replaced, and nothing that is counted changes.

The pseudonym is also what the subscriber is called from then on, so that calls which name the
subscriber still do.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any

from django.db import connection
from psycopg import sql

from metering.ledger.partitions import partitioned_days
from metering.models import DiscoveredSource, InventoriedKey
from revcred.personal_texts import (
    PersonalText,
    PersonTexts,
    TextKind,
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
INVENTORY_TABLE = InventoriedKey._meta.db_table
MIN_NAME_CHARACTERS = 3  # of a name that is looked for within a label
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


def steps_of_erasing(texts: PersonTexts) -> Iterator[Callable[[], int]]:
    """Yield steps, each for a transaction of its own, which return the number of calls changed.

    A call that names the subscriber by external key, and holds another of the texts, counts twice.
    A step that is done again finds nothing.
    """
    # Day by day, so that no transaction takes long. The latest are known best by whoever looks.
    for day in reversed(list(_days_of_ledger())):
        yield partial(_erase_in_ledger, texts, day)
    found = text_tables("metering_", without_columns=COUNTED_COLUMNS)
    tables = {each.name: each for each in found}
    del tables[LEDGER.name]
    del tables[DISCOVERED_TABLE]
    yield partial(_erase_in_rows, tables.pop(QUARANTINE_TABLE), texts)
    yield partial(_erase_beside_calls, list(tables.values()), texts)


def _erase_beside_calls(tables: Sequence[TextTable], texts: PersonTexts) -> int:
    if texts.everywhere:
        # Deleted: calls bring it back, and a pseudonym could be there twice.
        DiscoveredSource.objects.filter(name__iregex=pattern_of_any(texts.everywhere)).delete()
    for table in tables:
        is_inventory = table.name == INVENTORY_TABLE
        replace_in_table(table, _texts_in_labels(texts) if is_inventory else texts.everywhere)
    return 0  # these rows are no calls, or calls that are not attributed yet


def _texts_in_labels(texts: PersonTexts) -> list[PersonalText]:
    """Return the texts that are looked for in labels of a gateway's keys, single names included.

    Whose key an entry is, nobody may know here. A label that is taken for the person's though it
    is another's comes back with the gateway's next inventory.
    """
    names = [
        replace(text, kind=TextKind.WORDS) if text.kind is TextKind.WHOLE else text
        for text in texts.own
        if len(text.text) >= MIN_NAME_CHARACTERS
    ]
    return [*texts.everywhere, *names]


def _erase_in_ledger(texts: PersonTexts, day: tuple[datetime, datetime]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(ALLOW_LEDGER_TEXTS, ["on"])
        calls = _erase_in_rows(LEDGER, texts, between=day)
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
