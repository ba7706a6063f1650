"""Why rows are refused, in words that name row, column and reason, and give no key away."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

from revcred.models import Upload
from revcred.uploads import staging
from revcred.uploads.columns import Kind
from revcred.uploads.plans import MERGES
from revcred.uploads.plans.plan import MEANWHILE

WORDS = {MEANWHILE: "What it is about has been changed since it was checked."}
OTHER = "another row"  # in place of a row's number, where many rows are told of at once


@dataclass(frozen=True)
class Refusal:
    """One reason why a row is refused. `hint` tells the value without giving a key away."""

    row: int
    column: str  # a name of ours, or ""
    hint: str
    message: str


def of(upload: Upload, *, after: int, most: int) -> list[Refusal]:
    """Of so many rows after that one, in their order."""
    if not upload.is_staged:
        return []
    kind = Kind(upload.kind)
    names = ["number", "invalid", "refusals", "other_row", *staging.facts(kind)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(names)} FROM {staging.table(upload.pk)} "
            "WHERE action = 'refused' AND number > %s ORDER BY number LIMIT %s",
            [after, most],
        )
        found = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
    return [refusal for row in found for refusal in _of_row(kind, row)]


def _of_row(kind: Kind, row: Mapping[str, Any]) -> Iterator[Refusal]:
    for column, hint, message in staging.decoded(row["invalid"]) or ():
        yield Refusal(row["number"], column, hint, message)
    for code in row["refusals"] or ():
        column = code.partition(":")[0]
        message = message_of(kind, code, row["other_row"])
        yield Refusal(row["number"], column, shown(column, row), message)


def message_of(kind: Kind, code: str, other: int | None) -> str:
    words = WORDS.get(code) or MERGES[kind].messages[code]
    return words.format(other_row=f"row {other:,}" if other else OTHER)


def shown(column: str, facts: Mapping[str, Any]) -> str:
    """Of a key its hint, of a secret nothing, of anything else its beginning."""
    if column == "key":
        return f"…{facts['hint']}" if facts["hint"] else ""
    value = facts.get(column)
    text = "" if value is None else str(value)
    return text if len(text) <= staging.SHOWN else f"{text[: staging.SHOWN]}…"


def reasons(cursor: CursorWrapper, upload: Upload) -> list[tuple[str, str, int]]:
    """Each reason once, with how many rows it refuses, the most frequent first."""
    kind, table = Kind(upload.kind), staging.table(upload.pk)
    cursor.execute(
        f"""
        SELECT split_part(code, ':', 1), code, '', count(*)
        FROM {table} CROSS JOIN unnest(refusals) code WHERE action = 'refused' GROUP BY code
        UNION ALL
        SELECT problem ->> 0, '', problem ->> 2, count(*)
        FROM {table} CROSS JOIN jsonb_array_elements(invalid) problem
        WHERE action = 'refused' GROUP BY 1, 3
        ORDER BY 4 DESC, 1, 2 LIMIT 50
        """
    )
    return [
        (column, words or message_of(kind, code, None), count)
        for column, code, words, count in cursor.fetchall()
    ]
