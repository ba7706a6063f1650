from django.db import migrations

TRIGGERS = """
CREATE TRIGGER announce_change AFTER UPDATE ON metering_gatewaytoken FOR EACH ROW
WHEN ((OLD.digest, OLD.revoked_at, OLD.scopes) IS DISTINCT FROM
    (NEW.digest, NEW.revoked_at, NEW.scopes))
EXECUTE FUNCTION announce_change('gateway');
CREATE TRIGGER announce_addition AFTER INSERT OR DELETE ON metering_gatewaytoken
FOR EACH STATEMENT EXECUTE FUNCTION announce_change('gateway');
"""


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0210_refused_calls"),
        ("revcred", "0213_notices_of_changes"),
    ]

    operations = [
        migrations.RunSQL(
            TRIGGERS,
            "DROP TRIGGER announce_change ON metering_gatewaytoken;"
            "DROP TRIGGER announce_addition ON metering_gatewaytoken",
        )
    ]
