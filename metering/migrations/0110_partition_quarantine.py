"""Partition the quarantine by week of arrival, which its ids begin with.

No row moves: the table becomes the first partition, for all ids before the week after next. That
they are before it is checked first, while attribution goes on. So the table is locked for a moment.
"""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.db import migrations
from django.db.transaction import atomic

INDEXES = {
    "quarantined_by_fingerprint": "(fingerprint)",
    "quarantined_by_subscription": "(subscription_named)",
    "quarantined_by_names": "(quarantined_at) WHERE names IS NOT NULL",
    "quarantined_open": "(reason, fingerprint, gateway_id, hint, occurred_at)"
    " WHERE released_at IS NULL",
    "quarantined_released": "(released_at) WHERE released_at IS NOT NULL",
    "quarantined_by_corrected": "(corrects) WHERE corrects IS NOT NULL",
}
CREATE_INDEXES = "ALTER TABLE metering_quarantined ADD PRIMARY KEY (id);" + "".join(
    f"CREATE INDEX {name} ON metering_quarantined {columns};" for name, columns in INDEXES.items()
)

IS_PARTITIONED = "SELECT relkind = 'p' FROM pg_class WHERE oid = 'metering_quarantined'::regclass"
# Made by a clock that was wrong. Usually there are none.
HAS_ROWS_AHEAD = "SELECT EXISTS (SELECT FROM metering_quarantined WHERE id >= %s)"
REFUSE_ROWS_AHEAD = """
ALTER TABLE metering_quarantined
    DROP CONSTRAINT IF EXISTS quarantined_not_ahead,
    ADD CONSTRAINT quarantined_not_ahead CHECK (id < '{bound}') NOT VALID;
"""
# Reads the whole table, and is in nobody's way.
CHECK_ALL_ROWS = "ALTER TABLE metering_quarantined VALIDATE CONSTRAINT quarantined_not_ahead"
TABLE_TO_PARTITION = (
    """
ALTER TABLE metering_quarantined RENAME TO metering_quarantined_first;
ALTER TABLE metering_quarantined_first
    RENAME CONSTRAINT metering_quarantined_pkey TO metering_quarantined_first_pkey;
"""
    + "".join(f"ALTER INDEX {name} RENAME TO {name}_first;" for name in INDEXES)
    + """
CREATE TABLE metering_quarantined (LIKE metering_quarantined_first INCLUDING DEFAULTS)
    PARTITION BY RANGE (id);
"""
    + CREATE_INDEXES
    + """
CREATE TABLE metering_quarantined_default PARTITION OF metering_quarantined DEFAULT;
WITH ahead AS (DELETE FROM metering_quarantined_first WHERE id >= '{bound}' RETURNING *)
INSERT INTO metering_quarantined SELECT * FROM ahead;
-- Reads no row if all have been checked.
ALTER TABLE metering_quarantined ATTACH PARTITION metering_quarantined_first
    FOR VALUES FROM (MINVALUE) TO ('{bound}');
ALTER TABLE metering_quarantined_first DROP CONSTRAINT quarantined_not_ahead;
"""
)

PARTITIONS_TO_TABLE = (
    """
CREATE TABLE quarantined_unpartitioned (LIKE metering_quarantined INCLUDING DEFAULTS);
INSERT INTO quarantined_unpartitioned SELECT * FROM metering_quarantined;
DROP TABLE metering_quarantined;
ALTER TABLE quarantined_unpartitioned RENAME TO metering_quarantined;
"""
    + CREATE_INDEXES
)

# Called by the clock, whose role may not own the table. Rows that came before they had a partition
# move from the default one, which is locked: a row that is inserted meanwhile would be in the way.
# Usually it holds nothing, and the lock is short.
FUNCTIONS = """
CREATE FUNCTION add_quarantine_partition(week date, first_id uuid, end_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    partition text := 'metering_quarantined_' || to_char(week, 'YYYYMMDD');
BEGIN
    LOCK TABLE public.metering_quarantined_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.metering_quarantined INCLUDING ALL)', partition);
    EXECUTE format(
        'WITH moved AS ('
        ' DELETE FROM public.metering_quarantined_default WHERE id >= %L AND id < %L RETURNING *'
        ') INSERT INTO public.%I SELECT * FROM moved',
        first_id, end_id, partition
    );
    EXECUTE format(
        'ALTER TABLE public.metering_quarantined ATTACH PARTITION public.%I'
        ' FOR VALUES FROM (%L) TO (%L)',
        partition, first_id, end_id
    );
END
$$;
-- Waits a second at most for whoever reads the quarantine, because all others wait behind it.
CREATE FUNCTION drop_quarantine_partition(partition text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '1s' AS $$
BEGIN
    IF partition !~ '^metering_quarantined_(first|[0-9]{8})$' THEN
        RAISE 'This is not a partition of the quarantine that may be dropped.';
    END IF;
    -- Calls as old as this may still be accepted, whatever LEDGER_DAYS says. The name ends with the
    -- first day of its week.
    IF partition ~ '[0-9]{8}$' AND to_date(right(partition, 8), 'YYYYMMDD') > current_date - 38 THEN
        RAISE 'This week is still kept.';
    END IF;
    EXECUTE format('DROP TABLE public.%I', partition);
END
$$;
REVOKE ALL ON FUNCTION add_quarantine_partition(date, uuid, uuid), drop_quarantine_partition(text)
    FROM PUBLIC;
"""
NO_FUNCTIONS = """
DROP FUNCTION add_quarantine_partition(date, uuid, uuid);
DROP FUNCTION drop_quarantine_partition(text);
"""


def partition_table(apps: Any, schema_editor: Any) -> None:
    today = datetime.now(UTC).date()
    monday = today + timedelta(days=14 - today.weekday())
    milliseconds = int(datetime.combine(monday, time(tzinfo=UTC)).timestamp() * 1000)
    bound = UUID(int=milliseconds << 80)
    # Done already, if the process ended before that was on record.
    if _ask(schema_editor, IS_PARTITIONED):
        return
    schema_editor.execute(REFUSE_ROWS_AHEAD.format(bound=bound), params=None)
    if not _ask(schema_editor, HAS_ROWS_AHEAD, bound):
        schema_editor.execute(CHECK_ALL_ROWS, params=None)
    with atomic():
        schema_editor.execute(TABLE_TO_PARTITION.format(bound=bound), params=None)
        schema_editor.execute(FUNCTIONS, params=None)


def unpartition_table(apps: Any, schema_editor: Any) -> None:
    with atomic():
        schema_editor.execute(NO_FUNCTIONS, params=None)
        schema_editor.execute(PARTITIONS_TO_TABLE, params=None)


def _ask(schema_editor: Any, question: str, *values: object) -> bool:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(question, values)
        return bool(cursor.fetchone()[0])


class Migration(migrations.Migration):
    # What is checked without a lock is committed before the table is locked. It can be repeated.
    atomic = False
    dependencies = [("metering", "0102_code_that_failed")]

    operations = [migrations.RunPython(partition_table, unpartition_table)]
