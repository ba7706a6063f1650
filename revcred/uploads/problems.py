"""Problems of rejected rows: messages that name row, column and reason, and reveal no key."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.utils.translation import gettext, gettext_noop

from revcred.models import Upload
from revcred.texts import grouped
from revcred.uploads import staging
from revcred.uploads.columns import ListKind
from revcred.uploads.plans import LIST_PLANS
from revcred.uploads.plans.plan import CHANGED_SINCE_CHECK_CODE
from revcred.uploads.staging import MAX_SHOWN_CHARACTERS
from revcred.uploads.state_cells import UNKNOWN_STATE_MESSAGE, parse_state_words, unknown_words

# For every kind of list; each plan has messages of its own besides.
COMMON_PROBLEM_MESSAGES = {
    CHANGED_SINCE_CHECK_CODE: gettext_noop("It has been changed since the list was checked.")
}
MAX_UNKNOWN_WORDS = 20  # for states, in a preview: the most frequent ones
ANOTHER_ROW = gettext_noop("another row")  # in place of its number, in a message about many rows


@dataclass(frozen=True)
class RowProblem:
    """A reason why a row is rejected."""

    row: int
    column: str  # revcred's name of it, or "" for the whole row
    hint: str  # the value's beginning; a key's end only
    message: str


def row_problems(upload: Upload, *, after: int, most: int) -> list[RowProblem]:
    """Return the problems of at most `most` rejected rows after the row `after`, in their order."""
    if not upload.is_staged:
        return []
    kind = ListKind(upload.kind)
    # An earlier version may have checked the list, and knew fewer columns.
    missing = staging.missing_staged_columns(upload.pk, kind)
    staged = [name for name in staging.staged_column_names(kind) if name not in missing]
    names = ["number", "invalid", "problems", "other_row", *staged]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(names)} FROM {staging.staging_table(upload.pk)} "
            "WHERE action = 'rejected' AND number > %s ORDER BY number LIMIT %s",
            [after, most],
        )
        rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
    return [problem for row in rows for problem in _problems_of_row(kind, row)]


def _problems_of_row(kind: ListKind, row: Mapping[str, Any]) -> Iterator[RowProblem]:
    # `invalid`: cells that could not be read, found while staging. `problems`: codes of the plan.
    for column, hint, message, *_ in staging.decode_json_column(row["invalid"]) or ():
        yield RowProblem(row["number"], column, hint, message)
    for code in row["problems"] or ():
        column = code.partition(":")[0]
        message = problem_message(kind, code, row["other_row"])
        yield RowProblem(row["number"], column, shown_staged_value(column, row), message)


def problem_message(kind: ListKind, code: str, other_row: int | None) -> str:
    """Return the message for a problem's code; `other_row` is the row that has the same value."""
    message = gettext(COMMON_PROBLEM_MESSAGES.get(code) or LIST_PLANS[kind].messages[code])
    row = gettext("row %(row)s") % {"row": grouped(other_row)} if other_row else ""
    return message.format(other_row=row or gettext(ANOTHER_ROW))


def shown_message(kind: ListKind, kept: str) -> str:
    """Return a message of a kept preview in the language of the page."""
    by_kept = {
        message.format(other_row=ANOTHER_ROW): message
        for message in LIST_PLANS[kind].messages.values()
    }
    if kept not in by_kept:
        return gettext(kept)
    return gettext(by_kept[kept]).format(other_row=gettext(ANOTHER_ROW))


def shown_staged_value(column: str, row: Mapping[str, Any]) -> str:
    """Return the value as people may see it: a key as its hint, a secret as "", else its start."""
    if column == "key":
        return f"…{row['hint']}" if row["hint"] else ""
    if column == "aliases":
        return ", ".join(f"…{end}" for end in row["alias_hints"] or ())
    # No column of the table is called `secret`: only a fingerprint of it is staged.
    value = row.get(column)
    return staging.shortened("" if value is None else str(value))


def count_problems(cursor: CursorWrapper, upload: Upload) -> list[tuple[str, str, int]]:
    """Return (column, message, rejected rows) of each reason, the most frequent first."""
    kind, table = ListKind(upload.kind), staging.staging_table(upload.pk)
    cursor.execute(
        f"""
        SELECT split_part(code, ':', 1), code, '', count(*)
        FROM {table} CROSS JOIN unnest(problems) code WHERE action = 'rejected' GROUP BY code
        UNION ALL
        SELECT problem ->> 0, '', problem ->> 2, count(*)
        FROM {table} CROSS JOIN jsonb_array_elements(invalid) problem
        WHERE action = 'rejected' GROUP BY 1, 3
        ORDER BY 4 DESC, 1, 2 LIMIT 50
        """
    )
    return [
        (column, message or problem_message(kind, code, None), count)
        for column, code, message, count in cursor.fetchall()
    ]


def count_unknown_states(cursor: CursorWrapper, upload: Upload) -> list[tuple[str, int]]:
    """Return (word, rejected rows) of words for states that nobody has explained yet."""
    cursor.execute(
        f"""
        SELECT problem ->> 1, count(*)
        FROM {staging.staging_table(upload.pk)}
        CROSS JOIN jsonb_array_elements(invalid) problem
        WHERE action = 'rejected' AND problem ->> 2 = %s
        GROUP BY 1 ORDER BY 2 DESC LIMIT %s
        """,
        [UNKNOWN_STATE_MESSAGE, MAX_UNKNOWN_WORDS],
    )
    known = parse_state_words(upload.choices.get("states", ""))
    counts: Counter[str] = Counter()
    for cell, rows in cursor.fetchall():
        # A cell that is shown in part has no word that anybody could explain, and pairs of a word
        # and its state are written with "=".
        if len(cell) <= MAX_SHOWN_CHARACTERS and "=" not in cell:
            for word in unknown_words(cell, words=known):
                counts[word] += rows
    return counts.most_common(MAX_UNKNOWN_WORDS)
