"""Why rows are refused, in words that name row, column and reason, and give no key away."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

from revcred.models import Upload
from revcred.uploads import staging
from revcred.uploads.columns import ListKind
from revcred.uploads.plans import LIST_PLANS
from revcred.uploads.plans.plan import CHANGED_SINCE_CHECK_CODE

COMMON_PROBLEM_MESSAGES = {
    CHANGED_SINCE_CHECK_CODE: "What it is about has been changed since it was checked."
}
ANOTHER_ROW = "another row"  # in place of a row's number, where many rows are told of at once


@dataclass(frozen=True)
class RowProblem:
    """One reason why a row is refused. `hint` tells the value without giving a key away."""

    row: int
    column: str  # a name of ours, or ""
    hint: str
    message: str


def row_problems(upload: Upload, *, after: int, most: int) -> list[RowProblem]:
    """Of so many rows after that one, in their order."""
    if not upload.is_staged:
        return []
    kind = ListKind(upload.kind)
    names = ["number", "invalid", "refusals", "other_row", *staging.staged_column_names(kind)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(names)} FROM {staging.staging_table(upload.pk)} "
            "WHERE action = 'refused' AND number > %s ORDER BY number LIMIT %s",
            [after, most],
        )
        found = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
    return [refusal for row in found for refusal in _problems_of_row(kind, row)]


def _problems_of_row(kind: ListKind, row: Mapping[str, Any]) -> Iterator[RowProblem]:
    for column, hint, message in staging.decode_json_column(row["invalid"]) or ():
        yield RowProblem(row["number"], column, hint, message)
    for code in row["refusals"] or ():
        column = code.partition(":")[0]
        message = problem_message(kind, code, row["other_row"])
        yield RowProblem(row["number"], column, shown_staged_value(column, row), message)


def problem_message(kind: ListKind, code: str, other: int | None) -> str:
    words = COMMON_PROBLEM_MESSAGES.get(code) or LIST_PLANS[kind].messages[code]
    return words.format(other_row=f"row {other:,}" if other else ANOTHER_ROW)


def shown_staged_value(column: str, facts: Mapping[str, Any]) -> str:
    """Of a key its hint, of a secret nothing, of anything else its beginning."""
    if column == "key":
        return f"…{facts['hint']}" if facts["hint"] else ""
    value = facts.get(column)
    text = "" if value is None else str(value)
    return (
        text
        if len(text) <= staging.MAX_SHOWN_CHARACTERS
        else f"{text[: staging.MAX_SHOWN_CHARACTERS]}…"
    )


def count_problems(cursor: CursorWrapper, upload: Upload) -> list[tuple[str, str, int]]:
    """Each reason once, with how many rows it refuses, the most frequent first."""
    kind, table = ListKind(upload.kind), staging.staging_table(upload.pk)
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
        (column, words or problem_message(kind, code, None), count)
        for column, code, words, count in cursor.fetchall()
    ]
