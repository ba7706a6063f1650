"""Undo an upload, the newest changes first, except those that something later depends on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, TypeAlias

from django.apps import apps
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic
from django.utils import timezone

from revcred.hooks import row_numbers_with_tokens, row_numbers_with_usage
from revcred.models import AuditEvent, Upload, UploadChange
from revcred.uploads import events, notices, rights
from revcred.uploads.opening import ProgressCallback, long_statement_cursor
from revcred.uploads.plans import UNDO_PLANS
from revcred.uploads.plans.plan import UNDONE_TABLE, UndoPlan
from revcred.uploads.steps import UploadStep, begin_step

CHANGES_PER_UNDO_TRANSACTION = 2_000
MAX_OBSTACLES_NAMED = 5  # things that a page names for each reason
MAX_OBSTACLES_SOUGHT = 5_000_000  # changes that are counted for each reason
DependedChanges: TypeAlias = tuple[str, list[int]]  # reason, numbers of changes
HAS_USAGE_REASON = "Transactions have been attributed to it"
HAS_TOKENS_REASON = "Tokens have been issued to the gateway"


@dataclass(frozen=True)
class UndoObstacle:
    """A reason why changes of an upload cannot be undone, and the first things it concerns."""

    reason: str
    count: int  # changes that cannot be undone for this reason
    first: list[str]  # names of things


# Reasons for things of any kind: somebody, or a later upload, has changed them since.
LATER_CHANGE_QUERIES = {
    "Somebody has changed it since": """
        SELECT c.id FROM {changes} c
        WHERE EXISTS (
            SELECT FROM revcred_auditevent e
            WHERE e.target_type = c.target_type AND e.target_id = c.target_id
                AND NOT e.details ? 'upload'  -- changes by uploads: see the next reason
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


def check_undoing(upload: Upload, *, count_moves: Callable[[Upload], dict[str, Any]]) -> None:
    """Set `undo_preview`: what depends on the upload, and the calls that undoing moves."""
    _look_for_dependents(upload)
    begin_step(upload, UploadStep.TRYING_UNDO)
    upload.undo_preview["moves"] = count_moves(upload)
    upload.save(update_fields=["undo_preview"])


def _look_for_dependents(upload: Upload) -> None:
    _prepare_undoing(upload)
    begin_step(upload, UploadStep.FINDING_DEPENDENTS, to_do=upload.changes.count())
    obstacles, left = find_undo_obstacles(upload)
    upload.undo_preview |= {
        "at": timezone.now().isoformat(),
        "changes": upload.to_do,
        "left": left,
        "obstacles": [asdict(obstacle) for obstacle in obstacles],
    }
    upload.save(update_fields=["undo_preview"])


def _prepare_undoing(upload: Upload) -> None:
    for plan in UNDO_PLANS:
        if plan.prepare and upload.changes.filter(target_type=plan.target).exists():
            plan.prepare()


def find_undo_obstacles(upload: Upload) -> tuple[list[UndoObstacle], int]:
    """Return the reasons why some changes cannot be undone, and the number of these changes.

    Things that the upload itself created are no obstacles: they are undone as well.
    """
    changes = f"(SELECT * FROM revcred_uploadchange WHERE upload_id = {upload.pk:d})"
    obstacles, left = [], set[int]()
    with long_statement_cursor() as cursor:
        for reason, found in (
            *_changed_later(cursor, changes),
            *chain.from_iterable(
                _depended_on(cursor, plan, changes, own=True) for plan in UNDO_PLANS
            ),
        ):
            first = _names_of_changes(found[:MAX_OBSTACLES_NAMED])
            obstacles.append(UndoObstacle(reason, len(found), first))
            left.update(found)
    return obstacles, len(left)


def undo_changes(upload: Upload, *, on_progress: ProgressCallback) -> bool:
    """Undo the upload, starting before the changes that have been undone already.

    If something depends on changes, return False and undo nothing, unless these are to be kept.
    What comes to depend on changes later is kept. Raises NotAllowed; changes that were undone by
    then stay undone.
    """
    # An all-or-nothing upload that failed undoes itself, whatever has come to depend on it.
    if upload.error:
        _prepare_undoing(upload)
    elif not upload.after:
        _look_for_dependents(upload)
        if upload.undo_preview["left"] and not upload.undo_preview["keeps"]:
            return False
    begin_step(upload, UploadStep.UNDOING)
    create_undone_table()
    while _undo_batch(upload):
        on_progress(upload)
    return True


def create_undone_table() -> None:
    """Create the temporary table of changes to undo. It belongs to this connection."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {UNDONE_TABLE}")
        cursor.execute(
            f"CREATE TEMPORARY TABLE {UNDONE_TABLE} (LIKE revcred_uploadchange)"
            " ON COMMIT DELETE ROWS"
        )


@atomic
def _undo_batch(upload: Upload) -> bool:
    """Undo the next changes in one transaction. Return False if there were none left."""
    rights.require_rights_to_undo(upload)
    audit_events = undo_next_changes(upload)
    if audit_events is None:
        return False
    upload.save(update_fields=["outcome", "undo_preview", "after", "done", "fraction"])
    # Recording locks the end of the audit's chain until the commit, so it comes last.
    AuditEvent.objects.record_many(audit_events)
    return True


def undo_next_changes(upload: Upload) -> list[AuditEvent] | None:
    """Undo the next changes, and set the progress of the upload without saving it.

    Return the events to record, or None if there were no changes left. Belongs to the caller's
    transaction.
    """
    with connection.cursor() as cursor:
        # A trial undoes several batches in one transaction.
        cursor.execute(f"TRUNCATE {UNDONE_TABLE}")
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
            return None
        # Locked before anybody looks for obstacles: other actions on these things wait until then.
        for plan in UNDO_PLANS:
            if plan.table:
                cursor.execute(_lock_undone_statement(plan))
        audit_events: list[AuditEvent] = []
        kept = _keep_depended(cursor, upload, _changed_later(cursor, UNDONE_TABLE))
        # Kind by kind: things of one kind may be obstacles to the next, and are gone by then.
        for plan in UNDO_PLANS:
            depended = _depended_on(cursor, plan, UNDONE_TABLE, own=False)
            kept += _keep_depended(cursor, upload, depended)
            of_kind = f"(SELECT * FROM {UNDONE_TABLE} WHERE target_type = '{plan.target}')"
            # Events and mails name things, so they are built before the things are deleted.
            audit_events += events.events_of_undoing(cursor, upload, of_kind)
            notices.note_undone_changes(cursor, plan.target)
            for statement in plan.statements:
                cursor.execute(statement)
    outcome = upload.outcome.copy()
    # Kept changes count as done: the next batch begins before them.
    outcome["undone"] = outcome.get("undone", 0) + count - kept
    outcome["kept"] = outcome.get("kept", 0) + kept
    upload.outcome, upload.after, upload.done = outcome, last, upload.done + count
    upload.fraction = upload.done / max(upload.to_do or 0, upload.done)
    return audit_events


def _lock_undone_statement(plan: UndoPlan) -> str:
    # In order of id, so that two transactions that lock the same things cannot deadlock.
    return f"""
        SELECT id FROM {plan.table}
        WHERE id IN (SELECT target_id FROM {UNDONE_TABLE} WHERE target_type = '{plan.target}')
        ORDER BY id FOR NO KEY UPDATE
    """


def _keep_depended(
    cursor: CursorWrapper, upload: Upload, depended: Iterable[DependedChanges]
) -> int:
    """Take these changes out of the table of those that are undone. Return how many there are.

    `kept` of the upload's `undo_preview` tells them, by the first reason of each.
    """
    kept: set[int] = set()
    for reason, numbers in depended:
        found = [number for number in numbers if number not in kept]
        kept.update(found)
        _note_kept(upload, reason, found)
    cursor.execute(f"DELETE FROM {UNDONE_TABLE} WHERE id = ANY (%s)", [list(kept)])
    return len(kept)


def _note_kept(upload: Upload, reason: str, changes: list[int]) -> None:
    told = {each["reason"]: each for each in upload.undo_preview.get("kept", [])}
    of_reason = told.setdefault(reason, {"reason": reason, "count": 0, "first": []})
    more = MAX_OBSTACLES_NAMED - len(of_reason["first"])
    told[reason] = of_reason | {
        "count": of_reason["count"] + len(changes),
        "first": of_reason["first"] + _names_of_changes(changes[:more]),
    }
    upload.undo_preview = upload.undo_preview | {
        "kept": [each for each in told.values() if each["count"]]
    }


def _changed_later(cursor: CursorWrapper, changes: str) -> Iterator[DependedChanges]:
    for reason, query in LATER_CHANGE_QUERIES.items():
        yield from _changes_found(cursor, reason, query.format(changes=changes))


def _depended_on(
    cursor: CursorWrapper, plan: UndoPlan, changes: str, *, own: bool
) -> Iterator[DependedChanges]:
    """Yield the changes that something depends on, by reason.

    If `own` is true, things of the same upload do not count.
    """
    for reason, query in plan.obstacle_queries.items():
        yield from _changes_found(cursor, reason, query.format(changes=changes, own=own))
    if plan.usage_query:
        rows = plan.usage_query.format(changes=changes)
        if found := row_numbers_with_usage(rows, most=MAX_OBSTACLES_SOUGHT):
            yield HAS_USAGE_REASON, found
    if plan.gateways_query and (
        found := row_numbers_with_tokens(plan.gateways_query.format(changes=changes))
    ):
        yield HAS_TOKENS_REASON, found


def _changes_found(cursor: CursorWrapper, reason: str, query: str) -> Iterator[DependedChanges]:
    cursor.execute(f"{query} LIMIT {MAX_OBSTACLES_SOUGHT}")
    if found := [number for (number,) in cursor.fetchall()]:
        yield reason, found


def _names_of_changes(changes: list[int]) -> list[str]:
    """Return the names of the things that were changed."""
    names = []
    for change in UploadChange.objects.filter(pk__in=changes).order_by("pk"):
        target = apps.get_model(change.target_type)._base_manager.filter(pk=change.target_id)
        # A row of a list of usage is no thing with a name.
        nameless = f"row {change.row:,}" if change.row else change
        names.append(str(target.first() or nameless))
    return names
