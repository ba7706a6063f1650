"""What an upload would do, or did, as its page says it."""

from dataclasses import dataclass
from typing import Any

from revcred.models import Upload
from revcred.uploads import columns
from revcred.uploads.columns import ListKind

Action, State = Upload.Action, Upload.State

PREVIEW_LABELS = {
    Action.CREATE: "Create",
    Action.UPDATE: "Update",
    Action.MOVE: "Move",
    Action.UNCHANGED: "Unchanged",
    Action.REFUSED: "Refused",
}
OUTCOME_WORDS = {
    Action.CREATE: "created",
    Action.UPDATE: "updated",
    Action.MOVE: "moved",
    Action.UNCHANGED: "unchanged",
    Action.REFUSED: "refused",
}
STEP_NAMES = ("File", "Columns", "Preview", "Apply", "Done")
COLUMNS_STEP = 1
STEP_BY_STATE = {
    State.CHECKING: COLUMNS_STEP,
    State.UNMAPPED: COLUMNS_STEP,
    State.READY: 2,
    State.APPLYING: 3,
}


@dataclass(frozen=True)
class PreviewCount:
    """How many rows do something; and of the first of them, column by column, what."""

    action: str
    label: str
    count: int
    firsts: list[dict[str, Any]]
    columns: list[tuple[str, list[tuple[Any, Any] | None]]]


def fixed_values_with_titles(upload: Upload) -> list[tuple[str, str]]:
    """The titles of columns, and what every row has there."""
    named = columns.columns_by_name(ListKind(upload.kind))
    return [(named[name].title, value) for name, value in upload.for_all.items()]


@dataclass(frozen=True)
class ProblemCount:
    """Why rows are refused, and how many are."""

    column: str
    message: str
    count: int


@dataclass(frozen=True)
class UploadStep:
    name: str
    is_over: bool
    is_now: bool


def upload_steps(upload: Upload) -> list[UploadStep]:
    return steps_at(STEP_BY_STATE.get(State(upload.state), len(STEP_NAMES) - 1))


def steps_at(now: int) -> list[UploadStep]:
    return [UploadStep(name, at < now, at == now) for at, name in enumerate(STEP_NAMES)]


def outcome_in_short(upload: Upload) -> str:
    """What came of it, or would, in a line of the list."""
    if upload.state == State.READY:
        said = [("to apply", rows_to_apply(upload)), *outcome_counts(upload)]
    elif upload.applied_at or upload.total is None:
        said = outcome_counts(upload)
    else:
        said = [("read", upload.total)]
    return ", ".join(f"{count:,} {word}".replace(" ", "\N{NO-BREAK SPACE}") for word, count in said)


def preview_counts(upload: Upload) -> list[PreviewCount]:
    counts = upload.preview["counts"]
    return [
        PreviewCount(action, label, counts[action], firsts, _values_by_column(upload, firsts))
        for action, label in PREVIEW_LABELS.items()
        for firsts in [upload.preview["firsts"].get(action, [])]
    ]


def _values_by_column(
    upload: Upload, firsts: list[dict[str, Any]]
) -> list[tuple[str, list[tuple[Any, Any] | None]]]:
    """Old and new of each row, or None where it says nothing of that column."""
    rows = [{name: (old, new) for name, old, new in each["values"]} for each in firsts]
    return [
        (column.title, [row.get(column.name) for row in rows])
        for column in columns.columns_of(ListKind(upload.kind))
        if any(column.name in row for row in rows)
    ]


def problem_counts(upload: Upload) -> list[ProblemCount]:
    titles = _titles_by_name(upload)
    return [
        ProblemCount(titles.get(column, column), message, count)
        for column, message, count in upload.preview["reasons"]
    ]


def members_to_add(upload: Upload) -> dict[str, Any]:
    """Return who would become a member, with the words for where they belong."""
    found: dict[str, Any] = upload.preview.get("members") or {"count": 0, "people": []}
    return found | {"more": found["count"] - len(found["people"])}


def rows_to_apply(upload: Upload) -> int:
    """The rows that change anything."""
    counts = upload.preview["counts"]
    return sum(counts[each] for each in (Action.CREATE, Action.UPDATE, Action.MOVE))


def count_rejected(upload: Upload) -> int:
    """When it was checked, and meanwhile."""
    before = upload.preview.get("counts", {}).get(Action.REFUSED, 0)
    return int(before + upload.outcome.get("meanwhile", 0))


def outcome_counts(upload: Upload) -> list[tuple[str, int]]:
    """What came of it, such as ("created", 3); of one that is not applied yet, what is refused."""
    counts = upload.outcome | {Action.REFUSED: count_rejected(upload)}
    if upload.applied_at:
        counts |= {Action.UNCHANGED: upload.preview["counts"][Action.UNCHANGED]}
    return [(word, counts[action]) for action, word in OUTCOME_WORDS.items() if counts.get(action)]


def column_titles(upload: Upload, names: list[str]) -> list[str]:
    titles = _titles_by_name(upload)
    return [titles.get(name, name) for name in names]


def _titles_by_name(upload: Upload) -> dict[str, str]:
    return {each.name: each.title for each in columns.columns_of(ListKind(upload.kind))}
