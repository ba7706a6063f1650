"""Figures and words of an upload's page: its steps, its preview and its outcome."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext, gettext_noop

from revcred.admin_toolkit import confirmation
from revcred.metering_port import Consequences
from revcred.models import Subscription, Upload
from revcred.texts import gettext_lazy, grouped
from revcred.uploads import columns, trial
from revcred.uploads.columns import ListKind
from revcred.uploads.problems import shown_message

PREVIEW_LABELS = {
    Upload.Action.CREATE: gettext_lazy("Create"),
    Upload.Action.UPDATE: gettext_lazy("Update"),
    Upload.Action.MOVE: gettext_lazy("Move"),
    Upload.Action.UNCHANGED: gettext_lazy("Unchanged"),
    Upload.Action.REJECTED: gettext_lazy("Rejected"),
}
OUTCOME_WORDS = {
    Upload.Action.CREATE: gettext_noop("created"),
    Upload.Action.UPDATE: gettext_noop("updated"),
    Upload.Action.MOVE: gettext_noop("moved"),
    Upload.Action.UNCHANGED: gettext_noop("unchanged"),
    Upload.Action.REJECTED: gettext_noop("rejected"),
}
STEP_NAMES = (
    gettext_lazy("File"),
    gettext_lazy("Columns"),
    gettext_lazy("Preview"),
    gettext_lazy("Apply"),
    gettext_lazy("Done"),
)
COLUMNS_STEP = 1
# States that are not here belong to the last step.
STEP_BY_STATE = {
    Upload.State.CHECKING: COLUMNS_STEP,
    Upload.State.UNMAPPED: COLUMNS_STEP,
    Upload.State.READY: 2,
    Upload.State.APPLYING: 3,
}


@dataclass(frozen=True)
class PreviewCount:
    """The number of rows with an action, and the first of them as a table.

    `columns` has a line for each column that any example has a value in: its title, and for each
    example the old and the new value, or None.
    """

    action: str
    label: str
    count: int
    examples: list[dict[str, Any]]
    columns: list[tuple[str, list[tuple[Any, Any] | None]]]


def fixed_values_with_titles(upload: Upload) -> list[tuple[str, str]]:
    """Return (column title, value) of the values that every row has."""
    by_name = columns.columns_by_name(ListKind(upload.kind))
    return [(gettext(by_name[name].title), value) for name, value in upload.fixed_values.items()]


@dataclass(frozen=True)
class ProblemCount:
    """A reason why rows are rejected, and the number of rows."""

    column: str
    message: str
    count: int


@dataclass(frozen=True)
class UploadStep:
    """A step in the list of steps at the top of the page."""

    name: str
    is_over: bool
    is_now: bool


def upload_steps(upload: Upload) -> list[UploadStep]:
    state = Upload.State(upload.state)
    if state == Upload.State.FAILED and not upload.applied_at:
        # Nothing after the step that failed has been done.
        return steps_at(COLUMNS_STEP if upload.header else 0)
    return steps_at(STEP_BY_STATE.get(state, len(STEP_NAMES) - 1))


def steps_at(current: int) -> list[UploadStep]:
    """Return all steps; `current` is the index of the one that the page belongs to."""
    return [
        UploadStep(name, index < current, index == current) for index, name in enumerate(STEP_NAMES)
    ]


def outcome_in_short(upload: Upload) -> str:
    """Return the outcome, or what is to be applied, as one line for the list of uploads."""
    if upload.state == Upload.State.READY:
        counts = [(gettext_noop("to apply"), rows_to_apply(upload)), *outcome_counts(upload)]
    elif upload.applied_at or upload.total is None:
        counts = outcome_counts(upload)
    else:
        counts = [(gettext_noop("read"), upload.total)]
    # A count and its word stay on one line.
    return ", ".join(
        f"{grouped(count)} {gettext(word)}".replace(" ", "\N{NO-BREAK SPACE}")
        for word, count in counts
    )


def preview_counts(upload: Upload) -> list[PreviewCount]:
    """Return the counts by action in the order of the page, also those of 0."""
    counts = upload.preview["counts"]
    return [
        PreviewCount(action, label, counts[action], examples, _values_by_column(upload, examples))
        for action, label in PREVIEW_LABELS.items()
        for examples in [upload.preview["examples"].get(action, [])]
    ]


def _values_by_column(
    upload: Upload, examples: list[dict[str, Any]]
) -> list[tuple[str, list[tuple[Any, Any] | None]]]:
    rows = [{name: (old, new) for name, old, new in example["values"]} for example in examples]
    return [
        (gettext(column.title), [row.get(column.name) for row in rows])
        for column in columns.columns_of(ListKind(upload.kind))
        if any(column.name in row for row in rows)
    ]


def problem_counts(upload: Upload) -> list[ProblemCount]:
    kind, titles = ListKind(upload.kind), _titles_by_name(upload)
    return [
        ProblemCount(titles.get(column, column), shown_message(kind, message), count)
        for column, message, count in upload.preview["reasons"]
    ]


def members_to_add(upload: Upload) -> dict[str, Any]:
    """Return the new members of the preview, and as `more` how many of them it does not name."""
    # Previews of earlier versions have none.
    members: dict[str, Any] = upload.preview.get("members") or {"count": 0, "people": []}
    return members | {"more": members["count"] - len(members["people"])}


def moves_context(moves: dict[str, Any] | None) -> dict[str, Any]:
    """Return the template context for calls that an upload, or undoing it, moves.

    `moves` is that of `Upload.preview`, or None if nobody tried it out.
    """
    if not moves or not moves["counted"]:
        return {"moves": moves, "found": Consequences()}
    found = trial.consequences_of_moves(moves)
    named = {
        place.subscription_id
        for movement in found.movements
        for place in (movement.before, movement.after)
        if place.subscription_id is not None
    }
    existing = Subscription.objects.filter(pk__in=named).values_list("pk", flat=True)
    return {
        "moves": moves,
        "found": found,
        "calls": confirmation.calls_in_words(moves["calls"], is_complete=moves["is_complete"]),
        # The trial made them and took them back: they have no page that could be linked.
        "not_created_yet": named - {*existing},
    }


def undo_context(upload: Upload) -> dict[str, Any]:
    """Return the template context for what undoing does; `undo` is None if nobody has asked yet."""
    found = upload.undo_preview if "at" in upload.undo_preview else None
    return {
        "undo": found and found | {"at": datetime.fromisoformat(found["at"])},
        "undone": found and found["changes"] - found["left"],
        **moves_context(found and found.get("moves")),
    }


def rows_to_apply(upload: Upload) -> int:
    """Return the number of rows that change anything."""
    action, counts = Upload.Action, upload.preview["counts"]
    return sum(counts[name] for name in (action.CREATE, action.UPDATE, action.MOVE))


def count_rejected(upload: Upload) -> int:
    """Return the number of rows rejected by the check, and since then while applying."""
    by_check = upload.preview.get("counts", {}).get(Upload.Action.REJECTED, 0)
    return int(by_check + upload.outcome.get("meanwhile", 0))


def outcome_counts(upload: Upload) -> list[tuple[str, int]]:
    """Return (word, rows), such as ("created", 3), without those of 0.

    Of an upload that has not been applied, only the rejected rows count.
    """
    counts = upload.outcome | {Upload.Action.REJECTED: count_rejected(upload)}
    if upload.applied_at:
        counts |= {Upload.Action.UNCHANGED: upload.preview["counts"][Upload.Action.UNCHANGED]}
    return [(word, counts[action]) for action, word in OUTCOME_WORDS.items() if counts.get(action)]


def column_titles(upload: Upload, names: list[str]) -> list[str]:
    """Return the titles of columns for their names."""
    titles = _titles_by_name(upload)
    return [titles.get(name, name) for name in names]


def _titles_by_name(upload: Upload) -> dict[str, str]:
    return {
        column.name: gettext(column.title) for column in columns.columns_of(ListKind(upload.kind))
    }
