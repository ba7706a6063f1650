from django.db import migrations

# Processes that answer checks of calls keep keys and credentials in memory. Each change to these is
# announced in its own transaction, so that no way to change them is forgotten. See
# `metering.verification.memory` for who listens.
FUNCTIONS = """
-- Announces the rows that a statement changed, by the column TG_ARGV[1], 150 in a notice.
CREATE FUNCTION announce_changed_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text;
    numbers text;
BEGIN
    changed := CASE TG_OP
        WHEN 'INSERT' THEN format('SELECT %I FROM new_rows', TG_ARGV[1])
        WHEN 'DELETE' THEN format('SELECT %I FROM old_rows', TG_ARGV[1])
        ELSE format('SELECT %1$I FROM new_rows UNION SELECT %1$I FROM old_rows', TG_ARGV[1])
    END;
    FOR numbers IN EXECUTE format(
        'SELECT string_agg(number::text, '','') FROM ('
        ' SELECT number, (row_number() OVER () - 1) / 150 AS part'
        ' FROM (SELECT DISTINCT number FROM (%s) c (number)) d'
        ') parts GROUP BY part', changed
    ) LOOP
        PERFORM pg_notify('revcred_register', TG_ARGV[0] || ':' || numbers);
    END LOOP;
    RETURN NULL;
END
$$;
-- Announces that something of a small table changed, which is read as a whole.
CREATE FUNCTION announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('revcred_register', TG_ARGV[0] || ':');
    RETURN NULL;
END
$$;
"""
# By table: the letter of its notices and the column that says what to read again.
TABLES_BY_ROW = {
    "revcred_externalkey": ("key", "fingerprint"),
    "revcred_credential": ("credential", "id"),
    "revcred_suspension": ("credential", "credential_id"),
    "revcred_assignment": ("credential", "credential_id"),
    "revcred_subscription": ("subscription", "id"),
    "revcred_customer": ("customer", "id"),
}
SMALL_TABLES = {
    "revcred_product": "product",
    "revcred_product_sources": "product",
    "revcred_source": "product",
    "revcred_pathrule": "product",
    "revcred_formername": "product",
}
REFERENCING = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
}
# Attribution writes when a gateway was last seen, every second or so.
GATEWAY_COLUMNS = (
    *("name", "suspended_at", "check_mode", "check_refuses_over_quota", "key_place"),
    "key_name",
)


def triggers():
    """Return the statements that create the triggers."""
    statements = [
        f"CREATE TRIGGER announce_{event.lower()} AFTER {event} ON {table}"
        f" {REFERENCING[event]} FOR EACH STATEMENT"
        f" EXECUTE FUNCTION announce_changed_rows('{kind}', '{column}')"
        for table, (kind, column) in TABLES_BY_ROW.items()
        for event in REFERENCING
    ]
    statements += [
        f"CREATE TRIGGER announce_change AFTER INSERT OR DELETE OR UPDATE ON {table}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION announce_change('{kind}')"
        for table, kind in SMALL_TABLES.items()
    ]
    old, new = (
        ", ".join(f"{row}.{column}" for column in GATEWAY_COLUMNS) for row in ("OLD", "NEW")
    )
    statements += [
        "CREATE TRIGGER announce_change AFTER UPDATE ON revcred_gateway FOR EACH ROW"
        f" WHEN (({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION announce_change('gateway')",
        "CREATE TRIGGER announce_addition AFTER INSERT OR DELETE ON revcred_gateway"
        " FOR EACH STATEMENT EXECUTE FUNCTION announce_change('gateway')",
    ]
    return statements


class Migration(migrations.Migration):
    dependencies = [("revcred", "0212_checks_of_gateways")]

    operations = [
        migrations.RunSQL(
            [FUNCTIONS, *triggers()],
            [
                "DROP FUNCTION announce_changed_rows() CASCADE",
                "DROP FUNCTION announce_change() CASCADE",
            ],
        )
    ]
