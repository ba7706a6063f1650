r"""Texts that say who a person is, and their replacement in whatever is stored.

The patterns mean the same to Python and to PostgreSQL. Stored JSON is searched as text, so that
`\n` and `%40` may stand where a line break or an @ is meant.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, LiteralString

from django.conf import settings
from django.db import connection
from psycopg import sql

# Not within another address: a shorter address may be the end or the beginning of a longer one.
ADDRESS_BEGINS = r"(?:(?<![\w.+%-])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f][0-9A-Fa-f]))"
# A domain may go on behind a dot, but a list may also be called by somebody's address.
ADDRESS_ENDS = r"(?![\w-]|\.(?!(?:csv|tsv|txt|json|xlsx)(?!\w))\w)"
WORDS_BEGIN, WORDS_END = r"(?:(?<!\w)|(?<=\\[nrt]))", r"(?!\w)"

# in: tables; out: their columns that can hold text, with type and length
FIND_TEXT_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relname LIKE %(prefix)s AND a.attnum > 0 AND NOT a.attisdropped
    AND a.atttypid IN (
        'text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype,
        'text[]'::regtype, 'varchar[]'::regtype
    )
ORDER BY 1, 2
"""


class TextKind(Enum):
    """The way in which a text is recognised."""

    ADDRESS = "address"  # within a longer text, in any case of letters
    WORDS = "words"  # the same
    WHOLE = "whole"  # alone: shorter or ambiguous names would be found in too much


@dataclass(frozen=True)
class PersonalText:
    """A text that says who somebody is, and what stands there once the person is erased."""

    text: str
    replacement: str
    kind: TextKind

    @cached_property
    def pattern(self) -> str:
        # A backslash stands before ASCII signs only: before a letter it would mean something else.
        escaped = re.sub(r'[^\w\s"@\x80-\U0010ffff]', r"\\\g<0>", self.text, flags=re.ASCII)
        escaped = escaped.replace('"', r'\\?"')
        if self.kind is TextKind.ADDRESS:
            return f"{ADDRESS_BEGINS}{escaped.replace('@', '(?:@|%40)')}{ADDRESS_ENDS}"
        if self.kind is TextKind.WORDS:
            return f"{WORDS_BEGIN}{escaped}{WORDS_END}"
        return f"^{escaped}$"


@dataclass(frozen=True, kw_only=True)
class PersonTexts:
    """All texts that say who one person is.

    `everywhere`: nobody and nothing else is called so. `own`: further texts, that are looked for
    only in what is about the person. `named_by_calls`: how calls name the subscriber, and the
    pseudonym for it; addresses in lower case.
    """

    everywhere: Sequence[PersonalText]
    own: Sequence[PersonalText] = ()
    named_by_calls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table, and the types of those of its columns that are searched."""

    name: str
    columns: Mapping[str, str]


def pattern_of_any(texts: Collection[PersonalText]) -> str:
    """Return a pattern that finds any of the texts."""
    return "|".join(f"(?:{text.pattern})" for text in texts)


def replace_in_value(value: Any, texts: Collection[PersonalText]) -> Any:
    """Return a text, or all texts within JSON, with the person's texts replaced."""
    if isinstance(value, str):
        for text in texts:
            value = re.sub(text.pattern, text.replacement, value, flags=re.IGNORECASE)
        return value
    if isinstance(value, list):
        return [replace_in_value(each, texts) for each in value]
    if isinstance(value, dict):
        return {
            replace_in_value(name, texts): replace_in_value(each, texts)
            for name, each in value.items()
        }
    return value


def text_tables(
    prefix: str, *, without: Collection[str] = (), without_columns: Collection[str] = ()
) -> list[TextTable]:
    """Return the tables whose names begin so, with all columns that can hold text."""
    found: dict[str, dict[str, str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(FIND_TEXT_COLUMNS, {"prefix": f"{prefix}%"})
        for table, column, type_name in cursor:
            if table not in without and column not in without_columns:
                found.setdefault(table, {})[column] = type_name
    return [TextTable(name=name, columns=columns) for name, columns in found.items()]


def replace_in_table(
    table: TextTable, texts: Collection[PersonalText], *, between: tuple[Any, Any] | None = None
) -> int:
    """Replace the texts in all rows of a table, and return the number of changed rows.

    `between`: of the ledger, only rows of calls that were made from one moment to another.
    """
    if not texts:
        return 0
    values: dict[str, Any] = {}
    changes = {name: sql.SQL("{}::text").format(sql.Identifier(name)) for name in table.columns}
    for number, text in enumerate(texts):
        values |= {f"pattern{number}": text.pattern, f"shown{number}": text.replacement}
        for name, change in changes.items():
            changes[name] = sql.SQL("regexp_replace({}, {}, {}, 'gi')").format(
                change, sql.Placeholder(f"pattern{number}"), sql.Placeholder(f"shown{number}")
            )
    statement = sql.SQL("UPDATE {} SET {} WHERE {}").format(
        sql.Identifier(table.name),
        sql.SQL(", ").join(
            # The types are PostgreSQL's own words. A text that became too long is cut by the cast.
            sql.SQL("{} = ({})::{}").format(
                sql.Identifier(name), change, sql.SQL(table.columns[name])
            )
            for name, change in changes.items()
        ),
        _finding(table, between),
    )
    return _execute(statement, values | _finding_values(texts, between))


def count_in_table(table: TextTable, texts: Collection[PersonalText]) -> int:
    """Return the number of rows that hold any of the texts."""
    if not texts:
        return 0
    statement = sql.SQL("SELECT FROM {} WHERE {}").format(
        sql.Identifier(table.name), _finding(table, None)
    )
    return _execute(statement, _finding_values(texts, None))


def has_staged_rows(table: str, texts: Collection[PersonalText]) -> bool:
    """Return True if any row of a staging table holds any of the texts."""
    return _in_staging_table("SELECT FROM {} staged", table, texts) > 0


def delete_staged_rows(table: str, texts: Collection[PersonalText]) -> None:
    """Delete the rows of a staging table that hold any of the texts."""
    _in_staging_table("DELETE FROM {} staged", table, texts)


def _in_staging_table(statement: LiteralString, table: str, texts: Collection[PersonalText]) -> int:
    name = sql.Identifier(settings.STAGING_SCHEMA, table)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name.as_string()])
        if not texts or cursor.fetchone()[0] is None:
            return 0
    rows = sql.SQL(statement + " WHERE staged::text ~* %(any)s").format(name)
    return _execute(rows, {"any": pattern_of_any(texts)})


def _finding(table: TextTable, between: tuple[Any, Any] | None) -> sql.Composable:
    found = sql.SQL(" OR ").join(
        sql.SQL("{}::text ~* %(any)s").format(sql.Identifier(name)) for name in table.columns
    )
    if between is None:
        return found
    return sql.SQL("({}) AND occurred_at >= %(start)s AND occurred_at < %(end)s").format(found)


def _finding_values(
    texts: Collection[PersonalText], between: tuple[Any, Any] | None
) -> dict[str, Any]:
    start, end = between or (None, None)
    return {"any": pattern_of_any(texts), "start": start, "end": end}


def _execute(statement: sql.Composable, values: Mapping[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)
