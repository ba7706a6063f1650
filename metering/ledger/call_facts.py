"""Facts of a call: everything a gateway can report about one, listed once.

Statements are composed from this list, so that a new fact is one line here, a field of `Call` and
of `MeteredModel`, and a migration.
"""

from typing import NamedTuple

from psycopg import sql


class CallFact(NamedTuple):
    """A column of ledger and quarantine, and the same name in the JSON of the inbox."""

    name: str
    sql_type: str

    @property
    def is_text(self) -> bool:
        """True if '' stands for "not reported" in the tables. In the inbox that is NULL."""
        return self.sql_type == "text"

    def column(self, table: str | None = None) -> sql.Identifier:
        return sql.Identifier(table, self.name) if table else sql.Identifier(self.name)

    def to_store(self, table: str | None = None) -> sql.Composable:
        """Return the value for a table, from a row in which what is not reported is NULL."""
        column = self.column(table)
        return sql.SQL("coalesce({}, '')").format(column) if self.is_text else column

    def as_reported(self, table: str) -> sql.Composable:
        """Return the value as the gateway reported it, from a row of a table."""
        column = self.column(table)
        return sql.SQL("nullif({}, '')").format(column) if self.is_text else column

    def from_json(self, call: str) -> sql.Composable:
        """Return the value for a table, from the call's JSON; NULL for a number too large."""
        value = {"call": sql.Identifier(call), "name": sql.Literal(self.name)}
        if self.is_text:
            return sql.SQL("coalesce({call} ->> {name}, '')").format(**value)
        if self.sql_type == "jsonb":
            return sql.SQL("({call} -> {name})::jsonb").format(**value)
        return sql.SQL(
            "CASE WHEN abs(({call} ->> {name})::numeric) < {limit}"
            " THEN ({call} ->> {name})::numeric END"
        ).format(limit=sql.SQL(FIRST_TOO_LARGE[self.sql_type]), **value)


# The first absolute value that a column of this type, or what is computed with it, cannot hold.
FIRST_TOO_LARGE = {
    "smallint": "1 << 15",
    "bigint": "1::bigint << 62",
    "double precision": "1e300",
}

CALL_FACTS = (
    CallFact("subscription_named", "text"),
    CallFact("source_named", "text"),
    CallFact("method", "text"),
    CallFact("path", "text"),
    CallFact("status", "smallint"),
    CallFact("request_bytes", "bigint"),
    CallFact("response_bytes", "bigint"),
    CallFact("latency_ms", "double precision"),
    CallFact("elements", "jsonb"),
    CallFact("metadata", "jsonb"),
    CallFact("names", "jsonb"),
)


def fact_columns(table: str | None = None) -> sql.Composed:
    """Return `subscription_named, source_named, …`, of a table or its alias if one is given."""
    return sql.SQL(", ").join(fact.column(table) for fact in CALL_FACTS)


def typed_fact_columns() -> sql.Composed:
    """Return `subscription_named text, …`, as `json_to_recordset` wants it."""
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(fact.column(), sql.SQL(fact.sql_type)) for fact in CALL_FACTS
    )


def facts_to_store(table: str | None = None) -> sql.Composed:
    """Return the values for a table, from a row in which what is not reported is NULL."""
    return sql.SQL(", ").join(fact.to_store(table) for fact in CALL_FACTS)


def facts_as_reported(table: str) -> sql.Composed:
    """Return `nullif(t.method, '') AS method, …`, from rows of a table."""
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(fact.as_reported(table), fact.column()) for fact in CALL_FACTS
    )


def facts_from_json(call: str) -> sql.Composed:
    """Return the values for a table, from a column with the call's JSON."""
    return sql.SQL(", ").join(fact.from_json(call) for fact in CALL_FACTS)


def set_facts(table: str) -> sql.Composed:
    """Return `method = coalesce(j.method, ''), …` for an UPDATE."""
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(fact.column(), fact.to_store(table)) for fact in CALL_FACTS
    )
