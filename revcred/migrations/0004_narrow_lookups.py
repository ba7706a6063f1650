import django.db.models.deletion
from django.db import migrations, models

# What was known so far goes along. Rows that are stamped again and again leave room for it.
KEEP_STAMPS = """
INSERT INTO revcred_keyuse (external_key_id, last_used_at)
SELECT id, last_used_at FROM revcred_externalkey WHERE last_used_at IS NOT NULL;
ALTER TABLE revcred_keyuse SET (fillfactor = 80);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0003_cache"),
    ]

    operations = [
        migrations.CreateModel(
            name="KeyUse",
            fields=[
                (
                    "external_key",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="use",
                        serialize=False,
                        to="revcred.externalkey",
                    ),
                ),
                ("last_used_at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(KEEP_STAMPS, migrations.RunSQL.noop),
        migrations.RemoveIndex(
            model_name="externalkey",
            name="externalkey_by_fingerprint",
        ),
        migrations.RemoveField(
            model_name="externalkey",
            name="last_used_at",
        ),
        migrations.AlterField(
            model_name="assignment",
            name="credential",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="assignments",
                to="revcred.credential",
            ),
        ),
        migrations.AddIndex(
            model_name="assignment",
            index=models.Index(
                fields=["credential"],
                include=("id", "subscription", "active_from", "active_until"),
                name="assignment_by_credential",
            ),
        ),
        migrations.AddIndex(
            model_name="externalkey",
            index=models.Index(
                fields=["fingerprint", "gateway"],
                include=("id", "kind", "active_from", "active_until", "credential"),
                name="externalkey_by_fingerprint",
            ),
        ),
    ]
