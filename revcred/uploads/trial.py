"""Try out an upload: write its rows, count the calls that this moves, and take it back.

The rows are written as applying writes them, in one transaction. Metering counts with the
statements that move the calls later (see `hooks.try_out`): what a preview shows is what happens.
Nothing is sealed and nothing is recorded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict
from datetime import datetime
from time import monotonic
from typing import Any

import psycopg
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from revcred import hooks
from revcred.hooks import announce_change
from revcred.metering_port import CallMovement, ChargedTo, Consequences
from revcred.models import FormerName, Subscription, Upload
from revcred.uploads import staging, undoing
from revcred.uploads.chunk_statements import (
    CHUNK_PLANNER_SETTINGS,
    LOCK_AND_PLAN,
    PlanRenewal,
    create_chunk_tables,
    create_named_things,
    prepare_chunk_statements,
)
from revcred.uploads.columns import ListKind
from revcred.uploads.plans import LIST_PLANS
from revcred.uploads.plans.plan import CHUNK_TABLE, SEALED_TABLE, ListPlan

WRITE_LIMIT_SECONDS = 120.0  # rows that are written stay locked until they are taken back
APPLY_COUNT_LIMIT_SECONDS = 60.0
UNDO_LIMIT_SECONDS = 60.0  # things that are undone stay locked until they are put back
ROWS_PER_TRIAL_CHUNK = 4_000
MAX_MOVEMENTS_STORED = 50  # in the preview of an upload
MAX_TAKEN_NAMES_STORED = 20
MAX_TRIALS_WHILE_BUSY = 3

# They are reset before anything is counted: they do not suit the statements that count.
TRIAL_SETTINGS = CHUNK_PLANNER_SETTINGS | {
    "statement_timeout": f"{int(WRITE_LIMIT_SECONDS * 1_000)}"
}

# in: former names; out: those that the upload has taken from others, and how many there are
TAKEN_NAMES_QUERY = """
SELECT f.id, count(*) OVER ()
FROM revcred_formername f
JOIN revcred_uploadchange u
    ON u.target_type = 'revcred.subscription' AND u.target_id = f.taken_by_id
WHERE u.upload_id = %s AND f.kind = 'subscription' AND f.counts_until IS NOT NULL
    AND NOT f.id = ANY (%s)
ORDER BY f.id LIMIT %s
"""
NAMES_TAKEN_EARLIER_QUERY = """
SELECT coalesce(array_agg(id), '{}') FROM revcred_formername
WHERE kind = 'subscription' AND counts_until IS NOT NULL
"""


class _TrialTookTooLong(Exception):
    """The rows could not be written, or the changes undone, within the time limit."""


def try_applying(upload: Upload) -> dict[str, Any]:
    """Count the calls that applying the planned rows moves. Return `moves` of `Upload.preview`.

    counted      False if it could not be counted: then there are only `why` and `at`
    why          `long`: the list takes too long; `busy`: somebody changes the same things
    at           the moment of counting
    calls, is_complete, since, movements
                 see `metering_port.Consequences`; the largest movements only
    more         number of further movements
    names        first former names that the list takes from others: name, loser,
                 loser_customer, taker, taker_customer, from, calls
    more_names   number of further names
    """
    now = timezone.now()
    # Before the first call and the first former name, as when somebody moves in, nothing can move.
    if not hooks.has_calls() and not _some_names_can_be_taken():
        return _counted_moves(Consequences(), now) | {"names": [], "more_names": 0}
    # Writing sets the progress of the upload. The copy keeps it out of the upload itself.
    trial = copy(upload)
    trial.applied_at, trial.outcome, trial.since, trial.after = now, {}, None, 0

    def write() -> tuple[list[dict[str, Any]], int]:
        return _write_rows(trial, LIST_PLANS[ListKind(upload.kind)])

    # Others hold their locks for moments only, as a rule.
    for trials_left in reversed(range(MAX_TRIALS_WHILE_BUSY)):
        try:
            tried = hooks.try_out(write, keep=lambda *_: False, seconds=APPLY_COUNT_LIMIT_SECONDS)
        except _TrialTookTooLong:
            return _uncounted_moves("long", now)
        except hooks.ConcurrentChange:
            if not trials_left:
                return _uncounted_moves("busy", now)
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise
            return _uncounted_moves("long", now)
        else:
            names, more_names = tried.result
            moves = _counted_moves(tried.consequences, now)
            return moves | {"names": names, "more_names": more_names}
    raise AssertionError


def try_undoing(upload: Upload) -> dict[str, Any]:
    """Count the calls that undoing the upload moves. Return the same as `try_applying`."""
    now = timezone.now()
    if upload.since is None or not hooks.has_calls():
        # It has changed nobody's calls. What it created and has calls by now is not undone.
        return _counted_moves(Consequences(), now) | {"names": [], "more_names": 0}
    # A copy here too: undoing sets the progress of the upload.
    trial = copy(upload)
    trial.after = 0

    def undo() -> None:
        deadline = monotonic() + UNDO_LIMIT_SECONDS
        undoing.create_undone_table()
        while undoing.undo_next_changes(trial) is not None:
            if monotonic() > deadline:
                raise _TrialTookTooLong
        announce_change("an undo was tried out", upload=upload, since=upload.since, by=None)

    try:
        tried = hooks.try_out(undo, keep=lambda *_: False, seconds=UNDO_LIMIT_SECONDS)
    except _TrialTookTooLong:
        return _uncounted_moves("long", now)
    except hooks.ConcurrentChange:
        return _uncounted_moves("busy", now)
    return _counted_moves(tried.consequences, now) | {"names": [], "more_names": 0}


def consequences_of_moves(moves: dict[str, Any]) -> Consequences:
    """Return the consequences that `try_applying` counted, with the movements that it stored."""
    return Consequences(
        movements=tuple(
            CallMovement(
                before=ChargedTo(**movement["before"]),
                after=ChargedTo(**movement["after"]),
                calls=movement["calls"],
                first=datetime.fromisoformat(movement["first"]),
                last=datetime.fromisoformat(movement["last"]),
            )
            for movement in moves["movements"]
        ),
        since=moves["since"] and datetime.fromisoformat(moves["since"]),
        is_complete=moves["is_complete"],
        changes_assignments=True,
    )


def _uncounted_moves(why: str, at: datetime) -> dict[str, Any]:
    return {"counted": False, "why": why, "at": at.isoformat()}


def _counted_moves(found: Consequences, at: datetime) -> dict[str, Any]:
    return {
        "counted": True,
        "at": at.isoformat(),
        "calls": found.calls,
        "is_complete": found.is_complete,
        "since": found.since and found.since.isoformat(),
        "movements": [
            asdict(movement)
            | {"first": movement.first.isoformat(), "last": movement.last.isoformat()}
            for movement in found.movements[:MAX_MOVEMENTS_STORED]
        ],
        "more": max(len(found.movements) - MAX_MOVEMENTS_STORED, 0),
    }


def _some_names_can_be_taken() -> bool:
    kind = FormerName.Kind.SUBSCRIPTION
    return FormerName.objects.filter(kind=kind).exists()


# --- Writing the rows, to take them back ----------------------------------------------------------


def _write_rows(upload: Upload, plan: ListPlan) -> tuple[list[dict[str, Any]], int]:
    """Write all rows, and announce the change.

    Return the first former names that the list takes from others, and how many more there are.
    """
    deadline = monotonic() + WRITE_LIMIT_SECONDS
    since: list[datetime] = []
    with connection.cursor() as cursor:
        cursor.execute(NAMES_TAKEN_EARLIER_QUERY)
        (taken_earlier,) = cursor.fetchone()
        with _trial_settings(cursor):
            create_chunk_tables(upload, plan)
            prepare_chunk_statements(upload, plan)
            create_named_things(cursor, upload, plan)
            renewal = PlanRenewal()
            for after, until in _row_number_ranges(cursor, upload):
                since += _write_chunk_of_rows(cursor, plan, after, until)
                renewal.after_chunk(until - after)
                if monotonic() > deadline:
                    raise _TrialTookTooLong
        cursor.execute(TAKEN_NAMES_QUERY, [upload.pk, taken_earlier, MAX_TAKEN_NAMES_STORED])
        found = cursor.fetchall()
    announce_change("a list was tried out", upload=upload, since=min(since, default=None), by=None)
    names = [_taken_name_as_json(FormerName.objects.get(pk=pk)) for pk, _ in found]
    return names, (found[0][1] - len(found) if found else 0)


def _row_number_ranges(cursor: CursorWrapper, upload: Upload) -> Iterator[tuple[int, int]]:
    """Yield (after, until) for chunks of the rows that change something."""
    after = 0
    while True:
        cursor.execute(
            f"SELECT max(number) FROM (SELECT number FROM {staging.staging_table(upload.pk)} WHERE"
            " number > %s AND action IN ('create', 'update', 'move') ORDER BY number LIMIT %s) n",
            [after, ROWS_PER_TRIAL_CHUNK],
        )
        (until,) = cursor.fetchone()
        if until is None:
            return
        yield after, until
        after = until


def _write_chunk_of_rows(
    cursor: CursorWrapper, plan: ListPlan, after: int, until: int
) -> list[datetime]:
    """Write a chunk as `applying` does, without sealing and recording.

    Return the moments from which attribution may change.
    """
    # No commit between the chunks empties these tables.
    cursor.execute(f"TRUNCATE {CHUNK_TABLE}, {SEALED_TABLE}")
    cursor.execute(LOCK_AND_PLAN, {"after": after, "until": until})
    # Applying rejects these, because something has changed since the check.
    cursor.execute(f"DELETE FROM {CHUNK_TABLE} WHERE NOT is_same")
    if plan.seals_keys:
        # A random fingerprint stands for a key that will be generated: it is like no other, too.
        cursor.execute(
            f"INSERT INTO {SEALED_TABLE} (number, fingerprint, hint) SELECT number,"
            f" coalesce(fingerprint, gen_random_uuid()), coalesce(hint, '') FROM {CHUNK_TABLE}"
        )
    # Sealed values decide about no call, and sealing takes most of the time of applying.
    for number, statement in enumerate(plan.write):
        if statement not in plan.sealing_statements:
            cursor.execute(f"EXECUTE write_{number}")
    cursor.execute("EXECUTE since")
    return [moment for moment in cursor.fetchone() if moment]


@contextmanager
def _trial_settings(cursor: CursorWrapper) -> Iterator[None]:
    """Use TRIAL_SETTINGS for the block. If it fails, the rollback resets them."""
    change = "SELECT set_config(%s, %s, true)"
    before = {}
    for name, value in TRIAL_SETTINGS.items():
        cursor.execute("SELECT current_setting(%s)", [name])
        (before[name],) = cursor.fetchone()
        cursor.execute(change, [name, value])
    yield
    for name, value in before.items():
        cursor.execute(change, [name, value])


def _taken_name_as_json(former: FormerName) -> dict[str, Any]:
    """Return a former name that a list takes: its old and new subscription, and recent calls."""
    loser = Subscription.objects.select_related("customer").get(pk=former.target_id)
    taken_by: Any = former.taken_by_id
    taker = Subscription.objects.select_related("customer").get(pk=taken_by)
    recent = hooks.recent_calls_of(subscription=loser, named=former.name)
    return {
        "name": former.name,
        "loser": str(loser),
        "loser_customer": str(loser.customer),
        "taker": str(taker),
        "taker_customer": str(taker.customer),
        "from": former.counts_until.isoformat() if former.counts_until else None,
        "calls": recent.calls,
    }
