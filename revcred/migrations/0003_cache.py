from django.db import migrations

# What `createcachetable` would make, so that `migrate` is all there is to run.
CREATE = """
CREATE TABLE revcred_cache (
    cache_key varchar(255) PRIMARY KEY,
    value text NOT NULL,
    expires timestamptz NOT NULL
);
CREATE INDEX revcred_cache_expires ON revcred_cache (expires);
"""


class Migration(migrations.Migration):
    dependencies = [("revcred", "0002_same_customer_and_append_only")]

    operations = [migrations.RunSQL(CREATE, "DROP TABLE revcred_cache")]
