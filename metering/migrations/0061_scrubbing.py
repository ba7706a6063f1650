from django.db import migrations

# The ledger and the audit are only ever added to. One exception, which has to be asked for by
# `SET LOCAL revcred.scrubbing = 'on'`: texts in which a key was found, and nothing else of a row.
# Why: docs/decisions/0061-stored-keys-are-removed-in-place.md.
ONLY_TEXTS = """
CREATE FUNCTION refuse_change_but_of_texts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('revcred.scrubbing', true) = 'on'
        AND to_jsonb(OLD) - TG_ARGV = to_jsonb(NEW) - TG_ARGV
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME;
END
$$;
DROP TRIGGER transaction_append_only ON metering_transaction;
CREATE TRIGGER transaction_append_only BEFORE UPDATE OR DELETE ON metering_transaction
    FOR EACH ROW EXECUTE FUNCTION refuse_change_but_of_texts(
        'transaction_id', 'subscription_named', 'source_named', 'method', 'path', 'metadata',
        'names'
    );
DROP TRIGGER auditevent_append_only ON revcred_auditevent;
CREATE TRIGGER auditevent_append_only BEFORE UPDATE OR DELETE ON revcred_auditevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change_but_of_texts('target', 'details', 'digest');
"""
NOTHING = """
DROP TRIGGER transaction_append_only ON metering_transaction;
CREATE TRIGGER transaction_append_only BEFORE UPDATE OR DELETE ON metering_transaction
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP TRIGGER auditevent_append_only ON revcred_auditevent;
CREATE TRIGGER auditevent_append_only BEFORE UPDATE OR DELETE ON revcred_auditevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP FUNCTION refuse_change_but_of_texts();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0051_names_by_the_moment"),
        ("revcred", "0071_gateways_accept_older_calls"),
    ]

    operations = [migrations.RunSQL(ONLY_TEXTS, NOTHING)]
