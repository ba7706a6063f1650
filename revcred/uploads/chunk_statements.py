"""Tables and statements by which a chunk of rows is planned again and written.

Applying and trying out use the same: what a preview shows is what happens.
"""

from datetime import datetime

from django.db import connection
from django.db.backends.utils import CursorWrapper

from revcred.models import Upload
from revcred.uploads.opening import applicable_rows, plan_arguments
from revcred.uploads.plans.plan import CHUNK_TABLE, SEALED_TABLE, ListPlan

# A chunk never needs a whole table, whatever the statistics say while the table is being filled.
# Planning the statements again would cost each chunk a tenth of its time.
CHUNK_PLANNER_SETTINGS = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
# The lock comes first: what the rows are planned by cannot change before they are written.
LOCK_AND_PLAN = "EXECUTE lock (%(after)s, %(until)s); EXECUTE plan (%(after)s, %(until)s)"


def create_chunk_tables(upload: Upload, plan: ListPlan) -> None:
    """Create the temporary tables of a chunk. They belong to this connection."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {CHUNK_TABLE}, {SEALED_TABLE}")
        # WITH NO DATA takes over the columns of the query and does not run it.
        cursor.execute(
            f"CREATE TEMPORARY TABLE {CHUNK_TABLE} ON COMMIT DELETE ROWS AS "
            f"{replan_query(plan, applicable_rows(upload))} WITH NO DATA",
            plan_arguments(upload, at=time_applied(upload)),
        )
        cursor.execute(
            f"""
            CREATE TEMPORARY TABLE {SEALED_TABLE} (
                number bigint, fingerprint uuid, hint text, value bytea, secret bytea,
                aliases bytea[]
            ) ON COMMIT DELETE ROWS
            """
        )


def prepare_chunk_statements(upload: Upload, plan: ListPlan) -> None:
    """Prepare the statements of a chunk once for this connection: `lock`, `plan`, `write_0` …"""
    of_chunk = applicable_rows(upload, "number > $1 AND number <= $2")
    statements = {
        "lock (bigint, bigint)": plan.lock.format(source=of_chunk),
        "plan (bigint, bigint)": f"INSERT INTO {CHUNK_TABLE} {replan_query(plan, of_chunk)}",
        "since": plan.affected_since_query,
        "count": f"SELECT action, count(*) FROM {CHUNK_TABLE} GROUP BY action",
    } | {f"write_{number}": statement for number, statement in enumerate(plan.write)}
    arguments = plan_arguments(upload, at=time_applied(upload))
    with connection.cursor() as cursor:
        # Those of an upload that this connection applied before have other tables in them.
        cursor.execute("DEALLOCATE ALL")
        for name, statement in statements.items():
            cursor.execute(f"PREPARE {name} AS {statement}", arguments)


class PlanRenewal:
    """Lets PostgreSQL plan the statements again whenever the number of written rows has doubled.

    A plan is made for tables as large as they are then. In a new installation they are empty, where
    every index is as good as another, and some are then read from end to end for each row.
    """

    def __init__(self) -> None:
        self._written = self._planned_at = 0

    @property
    def has_begun(self) -> bool:
        return self._written > 0

    def after_chunk(self, rows: int) -> None:
        self._written += rows
        if self._written >= 2 * self._planned_at:
            with connection.cursor() as cursor:
                cursor.execute("DISCARD PLANS")
            self._planned_at = self._written


def create_named_things(cursor: CursorWrapper, upload: Upload, plan: ListPlan) -> None:
    """Create things that rows name, such as customers and sources, before the first chunk."""
    if plan.make_room:
        plan.make_room(cursor, applicable_rows(upload))
    source, arguments = applicable_rows(upload), plan_arguments(upload, at=time_applied(upload))
    for statement in plan.prepare:
        cursor.execute(statement.format(source=source), arguments)


def replan_query(plan: ListPlan, source: str) -> str:
    """Return a query for the plan of these rows as of now; `is_same` if it is that of the check.

    A row may have fewer effects by now: an earlier row may have made the person a member.
    """
    return f"""
        SELECT
            replanned.*, NULL::jsonb AS undo_data, NULL::bytea AS old_secret,
            (action, version) IS NOT DISTINCT FROM (known_action, known_version)
                AND effects <@ known_effects AS is_same
        FROM ({plan.query.format(source=source)}) replanned
    """


# One moment for all chunks: "now" must not move on while the list is applied.
def time_applied(upload: Upload) -> datetime:
    assert upload.applied_at
    return upload.applied_at
