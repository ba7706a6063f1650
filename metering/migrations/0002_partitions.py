from django.db import migrations

# Django's models know nothing of partitions, so the tables are made again as they should be. The
# partitions themselves come and go with the days: see metering/partitions.py.
LEDGER = """
CREATE TABLE ledger (LIKE metering_transaction INCLUDING DEFAULTS) PARTITION BY RANGE (occurred_at);
DROP TABLE metering_transaction;
ALTER TABLE ledger RENAME TO metering_transaction;
ALTER TABLE metering_transaction
    ADD CONSTRAINT metering_transaction_pkey PRIMARY KEY (id, occurred_at);
CREATE INDEX transaction_by_subscription ON metering_transaction (subscription_id, occurred_at DESC);
CREATE INDEX transaction_by_corrected ON metering_transaction (corrects)
    WHERE corrects IS NOT NULL;
CREATE TRIGGER transaction_append_only BEFORE UPDATE OR DELETE ON metering_transaction
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""

MEMORY = """
CREATE TABLE memory (LIKE metering_remembered INCLUDING DEFAULTS) PARTITION BY HASH (identity);
DROP TABLE metering_remembered;
ALTER TABLE memory RENAME TO metering_remembered;
ALTER TABLE metering_remembered ADD CONSTRAINT metering_remembered_pkey PRIMARY KEY (identity);
""" + "".join(
    f"CREATE TABLE metering_remembered_{part} PARTITION OF metering_remembered"
    f" FOR VALUES WITH (MODULUS 8, REMAINDER {part}) WITH (fillfactor = 100);\n"
    for part in range(8)
)

# Rows that are updated again and again leave room for it on their page.
ROOM = """
ALTER TABLE metering_usage SET (fillfactor = 80);
ALTER TABLE metering_tally SET (fillfactor = 50);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0001_initial"),
        ("revcred", "0002_same_customer_and_append_only"),
    ]

    operations = [
        migrations.RunSQL(LEDGER, migrations.RunSQL.noop),
        migrations.RunSQL(MEMORY, migrations.RunSQL.noop),
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
    ]
