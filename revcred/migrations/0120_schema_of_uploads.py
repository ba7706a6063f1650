from django.db import migrations

# Staging tables are made and dropped while revcred runs, by a role that may make tables nowhere
# else. Tables that exist already stay where they are: connections look into both schemas.
SCHEMA = "CREATE SCHEMA IF NOT EXISTS revcred_staging"
NO_SCHEMA = """
DO $$
DECLARE
    found regclass;
BEGIN
    FOR found IN SELECT oid FROM pg_class
        WHERE relnamespace = 'revcred_staging'::regnamespace AND relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE %s SET SCHEMA public', found);
    END LOOP;
END
$$;
DROP SCHEMA revcred_staging;
"""


class Migration(migrations.Migration):
    dependencies = [("revcred", "0114_fingerprint_rotation")]

    operations = [migrations.RunSQL(SCHEMA, NO_SCHEMA)]
