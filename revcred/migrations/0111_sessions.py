"""Sessions move to a table that knows their digests only. Everybody signs in again."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

# Their cookies could be used by whoever reads a backup. An installation that begins with this
# version has no such table.
DELETE_RAW_SESSIONS = """
DO $$ BEGIN
    IF to_regclass('django_session') IS NOT NULL THEN
        DELETE FROM django_session;
    END IF;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("revcred", "0110_rate_counters")]

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("data", models.TextField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("last_seen_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("address", models.GenericIPAddressField(null=True)),
                ("browser", models.CharField(blank=True, max_length=200)),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sessions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"default_permissions": (), "ordering": ("-last_seen_at",)},
        ),
        migrations.RunSQL(DELETE_RAW_SESSIONS, migrations.RunSQL.noop),
    ]
