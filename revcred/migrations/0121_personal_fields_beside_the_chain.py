from django.db import migrations, models

# What an event says of people can be erased, and the chain stays whole: its digest covers a digest
# of those fields. Events without one were chained by an earlier version, over the fields themselves.
# The way back leaves the columns, without which nobody could verify these events any more.
COLUMNS = """
ALTER TABLE revcred_auditevent
    ADD COLUMN IF NOT EXISTS salt bytea,
    ADD COLUMN IF NOT EXISTS personal_digest bytea,
    ADD COLUMN IF NOT EXISTS seal bytea
"""
ERASABLE = """
DROP TRIGGER auditevent_append_only ON revcred_auditevent;
CREATE TRIGGER auditevent_append_only BEFORE UPDATE OR DELETE ON revcred_auditevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change_but_of_texts(
        'actor', 'target', 'details', 'address', 'salt', 'personal_digest', 'seal', 'digest'
    );
-- For the application, which may not update events. The seal needs a key that is not in here, so
-- `verify_audit` finds what was replaced by anything but the application.
CREATE FUNCTION erase_people_in_event(
    event bigint, new_actor text, new_target text, new_details jsonb, new_address inet,
    new_seal bytea
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET revcred.scrubbing = 'on' AS $$
    UPDATE public.revcred_auditevent
    SET actor = new_actor, target = new_target, details = new_details, address = new_address,
        salt = NULL, seal = new_seal
    WHERE id = event
$$;
REVOKE ALL ON FUNCTION erase_people_in_event(bigint, text, text, jsonb, inet, bytea) FROM PUBLIC;
"""
NOT_ERASABLE = """
DROP FUNCTION erase_people_in_event(bigint, text, text, jsonb, inet, bytea);
DROP TRIGGER auditevent_append_only ON revcred_auditevent;
CREATE TRIGGER auditevent_append_only BEFORE UPDATE OR DELETE ON revcred_auditevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change_but_of_texts('target', 'details', 'digest');
"""


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0120_schema_of_uploads"),
        ("metering", "0061_scrubbing"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL(COLUMNS, migrations.RunSQL.noop)],
            [
                migrations.AddField(
                    "auditevent", name, models.BinaryField(editable=False, max_length=32, null=True)
                )
                for name in ("salt", "personal_digest", "seal")
            ],
        ),
        migrations.RunSQL(ERASABLE, NOT_ERASABLE),
    ]
