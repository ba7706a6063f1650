"""Load a transaction that was never corrected, with all that its receipt names, in one statement.

Nearly every receipt is of such a transaction. One query of Django's for each thing that it names
costs ten times as much.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, cast
from uuid import UUID

from django.db import connection, models
from psycopg import sql

from metering.models import Transaction
from revcred.postgresql.prepared import fetch_prepared

# What a receipt names: fields of Transaction.
NAMED_IN_RECEIPT = (
    *("external_key", "credential", "assignment", "subscription", "customer", "product", "source"),
    "gateway",
)

# By `LIMIT 1` and by asking in the list of columns, each look-up is one by an index for one row,
# whatever size PostgreSQL takes the tables for.
FIND_PLAIN_TRANSACTION = sql.SQL("""
WITH seen AS MATERIALIZED (
    -- in: dedup keys; out: what was seen under them, at most two rows.
    SELECT transaction, occurred_at, received_at FROM metering_seentransaction
    WHERE dedup_key = ANY (%(keys)s::uuid[])
    UNION ALL
    SELECT transaction, occurred_at, received_at FROM metering_seentransaction
    WHERE shared_id = ANY (%(keys)s::uuid[])
    LIMIT 2
)
SELECT
    (SELECT count(*) FROM seen) > 1
        OR EXISTS (
            SELECT FROM metering_transaction later
            WHERE later.corrects = t.id AND later.occurred_at = t.occurred_at
        )
        OR EXISTS (SELECT FROM metering_quarantined later WHERE later.corrects = t.id)
        OR EXISTS (SELECT FROM metering_conflict c WHERE c.transaction = t.id),
    {columns}
FROM seen CROSS JOIN LATERAL (
    -- Both moments, which name the partition: an admin may have counted the call at its arrival.
    SELECT * FROM metering_transaction kept
    WHERE kept.id = seen.transaction
        AND kept.occurred_at IN (seen.occurred_at, seen.received_at)
    LIMIT 1
) t {joins}
""")


def find_plain_transaction(keys: Sequence[UUID]) -> Transaction | None:
    """Return the one transaction of these dedup keys, with what its receipt names.

    None if there are none or several, or if it was corrected, or sent again with other content.
    """
    rows = fetch_prepared(_statement(), {"keys": list(keys)})
    if len(rows) != 1 or rows[0][0]:
        return None
    values = iter(rows[0][1:])
    transaction = _take_object(Transaction, values)
    for name in NAMED_IN_RECEIPT:
        named = _take_object(_model_of(name), values)
        if named.pk is not None:
            setattr(transaction, name, named)
    return transaction if transaction.corrects is None else None


@cache
def _statement() -> str:
    columns = [_columns_of(Transaction, "t")]
    joins = []
    for name in NAMED_IN_RECEIPT:
        model, table = _model_of(name), sql.Identifier(name)
        columns.append(_columns_of(model, name))
        joins.append(
            sql.SQL("LEFT JOIN {model} {table} ON {table}.id = t.{column}").format(
                model=sql.Identifier(model._meta.db_table),
                table=table,
                column=sql.Identifier(f"{name}_id"),
            )
        )
    return FIND_PLAIN_TRANSACTION.format(
        columns=sql.SQL(", ").join(columns), joins=sql.SQL(" ").join(joins)
    ).as_string()


def _model_of(name: str) -> type[models.Model]:
    return cast("type[models.Model]", Transaction._meta.get_field(name).related_model)


def _columns_of(model: type[models.Model], table: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.Identifier(table, str(field.column)) for field in model._meta.concrete_fields
    )


def _take_object(model: type[models.Model], values: Any) -> Any:
    """Return an object made of the next values, as Django reads it from the database."""
    fields = model._meta.concrete_fields
    read = [_as_django_reads(field, next(values)) for field in fields]
    return model.from_db(connection.alias, [field.attname for field in fields], read)


def _as_django_reads(field: Any, value: Any) -> Any:
    for convert in field.get_db_converters(connection):
        value = convert(value, None, connection)
    return value
