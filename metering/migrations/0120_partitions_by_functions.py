from django.db import migrations

# Only the owner of the ledger may add and drop its partitions, and the application is not the
# owner: it calls these functions, which do that and nothing else.
FUNCTIONS = """
CREATE FUNCTION add_ledger_partition(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.metering_transaction'
        ' FOR VALUES FROM (%L) TO (%L)',
        'metering_transaction_' || to_char(day, 'YYYYMMDD'),
        day || 'T00:00Z', (day + 1) || 'T00:00Z'
    );
END
$$;
-- Waits a second at most for whoever reads the ledger, because all others wait behind it.
CREATE FUNCTION drop_ledger_partition(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '1s' AS $$
BEGIN
    -- Calls as old as this may still be accepted, whatever LEDGER_DAYS says.
    IF day > current_date - 31 THEN
        RAISE 'This day is still kept.';
    END IF;
    EXECUTE format('DROP TABLE public.%I', 'metering_transaction_' || to_char(day, 'YYYYMMDD'));
END
$$;
REVOKE ALL ON FUNCTION add_ledger_partition(date), drop_ledger_partition(date) FROM PUBLIC;
"""
NO_FUNCTIONS = """
DROP FUNCTION add_ledger_partition(date);
DROP FUNCTION drop_ledger_partition(date);
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0111_quarantine_drops")]

    operations = [migrations.RunSQL(FUNCTIONS, NO_FUNCTIONS)]
