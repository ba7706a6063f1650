"""What is still known by the fingerprints of a key that is being exchanged."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0113_expiring_user_tokens")]

    operations = [
        migrations.CreateModel(
            name="FingerprintMove",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("old", models.UUIDField(unique=True)),
                ("new", models.UUIDField()),
                ("is_applied", models.BooleanField(default=False)),
            ],
            options={"default_permissions": ()},
        ),
        migrations.CreateModel(
            name="UnmovedFingerprint",
            fields=[("fingerprint", models.UUIDField(primary_key=True, serialize=False))],
            options={"default_permissions": ()},
        ),
    ]
