"""Undo: the newest change first, chunk by chunk, but for what something later depends on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from django.apps import apps
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from revcred.hooks import numbers_with_usage
from revcred.models import AuditEvent, Upload, UploadChange
from revcred.uploads import events, rights
from revcred.uploads.opening import ProgressCallback, long_statement_cursor
from revcred.uploads.plans import UNDO_PLANS
from revcred.uploads.plans.plan import UNDONE_TABLE, UndoPlan

CHANGES_PER_UNDO_TRANSACTION = 2_000  # changes undone in one transaction
MAX_OBSTACLES_NAMED = 5  # named of what depends
MAX_OBSTACLES_SOUGHT = 100_000  # looked for of each reason
DependedChanges: TypeAlias = tuple[str, list[int]]  # why, and which changes
HAS_USAGE_REASON = "Transactions have been attributed to it"


@dataclass(frozen=True)
class UndoObstacle:
    """Why something of an upload cannot be undone: what depends on it, how often, the first."""

    reason: str
    count: int
    first: list[str]


# Of any thing: what people did with it since, and later uploads.
LATER_CHANGE_QUERIES = {
    "It has been acted on since": """
        SELECT c.id FROM {changes} c
        WHERE EXISTS (
            SELECT FROM revcred_auditevent e
            WHERE e.target_type = c.target_type AND e.target_id = c.target_id
                AND NOT e.details ? 'upload'  -- lists are asked for below
                AND e.at > (SELECT applied_at FROM revcred_upload u WHERE u.id = c.upload_id)
        )
    """,
    "A later upload changed it": """
        SELECT c.id FROM {changes} c
        WHERE EXISTS (
            SELECT FROM revcred_uploadchange n JOIN revcred_upload p ON p.id = n.upload_id
            WHERE n.target_type = c.target_type AND n.target_id = c.target_id
                AND n.id > c.id AND n.upload_id <> c.upload_id AND p.state <> 'undone'
        )
    """,
}


def find_undo_obstacles(upload: Upload) -> list[UndoObstacle]:
    """What keeps some of it from being undone, besides what the upload itself has brought."""
    changes = f"(SELECT * FROM revcred_uploadchange WHERE upload_id = {upload.pk:d})"
    with long_statement_cursor() as cursor:
        return [
            UndoObstacle(reason, len(found), _names_of_changes(found[:MAX_OBSTACLES_NAMED]))
            for reason, found in (
                *_changed_later(cursor, changes),
                *chain.from_iterable(
                    _depended_on(cursor, each, changes, own=True) for each in UNDO_PLANS
                ),
            )
        ]


def undo_changes(upload: Upload, *, tell: ProgressCallback) -> None:
    """Go on before what has been undone already. What something depends on now is kept.

    Raises NotAllowed; what was undone until then stays so.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {UNDONE_TABLE}")
        cursor.execute(
            f"CREATE TEMPORARY TABLE {UNDONE_TABLE} (LIKE revcred_uploadchange)"
            " ON COMMIT DELETE ROWS"
        )
    while _undo_batch(upload):
        tell(upload)


@atomic
def _undo_batch(upload: Upload) -> bool:
    rights.require_rights_to_undo(upload)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {UNDONE_TABLE}
            SELECT * FROM revcred_uploadchange
            WHERE upload_id = %s AND (%s = 0 OR id < %s) ORDER BY id DESC LIMIT %s
            """,
            [upload.pk, upload.after, upload.after, CHANGES_PER_UNDO_TRANSACTION],
        )
        cursor.execute(f"SELECT count(*), min(id) FROM {UNDONE_TABLE}")
        count, last = cursor.fetchone()
        if not count:
            return False
        for each in UNDO_PLANS:
            cursor.execute(_lock_undone_statement(each))
        told: list[AuditEvent] = []
        kept = _exclude_depended(cursor, _changed_later(cursor, UNDONE_TABLE))
        for each in UNDO_PLANS:  # what depends on one kind of thing may be gone by then
            kept += _exclude_depended(cursor, _depended_on(cursor, each, UNDONE_TABLE, own=False))
            of_kind = f"(SELECT * FROM {UNDONE_TABLE} WHERE target_type = '{each.target}')"
            told += events.events_of_undoing(cursor, upload, of_kind)
            for statement in each.statements:
                cursor.execute(statement)
    outcome = upload.outcome.copy()
    outcome["undone"] = outcome.get("undone", 0) + count - kept
    outcome["kept"] = outcome.get("kept", 0) + kept
    upload.outcome, upload.after, upload.done = outcome, last, upload.done + count
    upload.fraction = upload.done / max(upload.to_do or 0, upload.done)
    upload.save(update_fields=["outcome", "after", "done", "fraction"])
    AuditEvent.objects.record_many(told)  # last: others wait for the chain's end from here on
    return True


def _lock_undone_statement(undo: UndoPlan) -> str:
    return f"""
        SELECT id FROM {undo.table}
        WHERE id IN (SELECT target_id FROM {UNDONE_TABLE} WHERE target_type = '{undo.target}')
        ORDER BY id FOR NO KEY UPDATE
    """


def _exclude_depended(cursor: CursorWrapper, depending: Iterable[DependedChanges]) -> int:
    """Leave these out of what is undone; how many those are."""
    kept = {each for _, found in depending for each in found}
    cursor.execute(f"DELETE FROM {UNDONE_TABLE} WHERE id = ANY (%s)", [list(kept)])
    return len(kept)


def _changed_later(cursor: CursorWrapper, changes: str) -> Iterator[DependedChanges]:
    for reason, query in LATER_CHANGE_QUERIES.items():
        yield from _changes_found(cursor, reason, query.format(changes=changes))


def _depended_on(
    cursor: CursorWrapper, undo: UndoPlan, changes: str, *, own: bool
) -> Iterator[DependedChanges]:
    """Reason by reason, the changes that something depends on; `own` does not count then."""
    for reason, query in undo.depends.items():
        yield from _changes_found(cursor, reason, query.format(changes=changes, own=own))
    if undo.uses and (
        found := numbers_with_usage(undo.uses.format(changes=changes), most=MAX_OBSTACLES_SOUGHT)
    ):
        yield HAS_USAGE_REASON, found


def _changes_found(cursor: CursorWrapper, reason: str, query: str) -> Iterator[DependedChanges]:
    cursor.execute(f"{query} LIMIT {MAX_OBSTACLES_SOUGHT}")
    if found := [number for (number,) in cursor.fetchall()]:
        yield reason, found


def _names_of_changes(changes: list[int]) -> list[str]:
    """What these changes are about, as people call it."""
    names = []
    for change in UploadChange.objects.filter(pk__in=changes).order_by("pk"):
        target = apps.get_model(change.target_type)._base_manager.filter(pk=change.target_id)
        names.append(str(target.first() or change))
    return names
