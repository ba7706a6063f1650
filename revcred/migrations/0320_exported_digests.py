from django.db import migrations, models
from django.db.models.functions import Now

import revcred.models.credentials

# A gateway that reads what changed has to learn of each change that lets a key in or not, whoever
# made it. A row is written only for keys that have a digest.
TRIGGERS = """
CREATE FUNCTION note_change_of_digests() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := to_jsonb(CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END);
BEGIN
    EXECUTE format(
        'UPDATE revcred_exporteddigest SET changed_in = pg_current_xact_id()::text::bigint,'
        ' changed_at = now() WHERE external_key_id IN (%s)', TG_ARGV[0]
    ) USING (changed ->> TG_ARGV[1])::bigint;
    RETURN NULL;
END
$$;
"""
KEYS_OF_CREDENTIAL = "SELECT id FROM revcred_externalkey WHERE credential_id = $1"
KEYS_OF_CUSTOMER = (
    "SELECT k.id FROM revcred_externalkey k JOIN revcred_credential c ON c.id = k.credential_id"
    " WHERE c.customer_id = $1"
)
# By trigger: the table, the events, the condition, the keys and the column that names them.
NOTED = (
    (
        *("revcred_externalkey", "UPDATE"),
        "WHEN ((OLD.active_from, OLD.active_until, OLD.gateway_id, OLD.credential_id)"
        " IS DISTINCT FROM (NEW.active_from, NEW.active_until, NEW.gateway_id, NEW.credential_id))",
        *("SELECT $1", "id"),
    ),
    ("revcred_externalkey", "DELETE", "", "SELECT $1", "id"),
    (
        *("revcred_credential", "UPDATE"),
        "WHEN ((OLD.revoked_at, OLD.expires_at) IS DISTINCT FROM (NEW.revoked_at, NEW.expires_at))",
        *(KEYS_OF_CREDENTIAL, "id"),
    ),
    ("revcred_suspension", "INSERT OR UPDATE OR DELETE", "", KEYS_OF_CREDENTIAL, "credential_id"),
    (
        *("revcred_customer", "UPDATE"),
        "WHEN (OLD.suspended_at IS DISTINCT FROM NEW.suspended_at)",
        *(KEYS_OF_CUSTOMER, "id"),
    ),
)


def name_of_trigger(events):
    return f"note_digests_{events.partition(' ')[0].lower()}"


CREATE_TRIGGERS = "".join(
    f"CREATE TRIGGER {name_of_trigger(events)} AFTER {events} ON {table} FOR EACH ROW {condition}"
    f" EXECUTE FUNCTION note_change_of_digests('{keys}', '{column}');\n"
    for table, events, condition, keys, column in NOTED
)
DROP_TRIGGERS = "".join(
    f"DROP TRIGGER {name_of_trigger(events)} ON {table};\n" for table, events, *_ in NOTED
)


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0250_gateway_public_url"),
    ]

    operations = [
        migrations.CreateModel(
            name="ExportedDigest",
            fields=[
                (
                    "external_key",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="exported",
                        serialize=False,
                        to="revcred.externalkey",
                    ),
                ),
                ("digest", models.BinaryField()),
                ("key_id", models.CharField(help_text="Which EXPORT_KEY made it.", max_length=8)),
                (
                    "changed_in",
                    models.BigIntegerField(
                        db_default=revcred.models.credentials.CurrentTransaction(),
                        db_index=True,
                        help_text="A transaction's number.",
                    ),
                ),
                ("changed_at", models.DateTimeField(db_default=Now())),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunSQL(TRIGGERS, "DROP FUNCTION note_change_of_digests()"),
        migrations.RunSQL(CREATE_TRIGGERS, DROP_TRIGGERS),
    ]
