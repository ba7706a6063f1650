from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("metering", "0061_scrubbing")]

    operations = [
        migrations.AddField("half", "shared_id", models.UUIDField(null=True)),
        migrations.AddField("half", "content_hash", models.UUIDField(null=True)),
        migrations.AddField(
            "half",
            "state",
            models.CharField(
                choices=[
                    ("waiting", "Waiting"),
                    ("alone", "Accepted without its other part"),
                    ("paired", "Accepted with its other part"),
                ],
                db_default="waiting",
                max_length=8,
            ),
        ),
        migrations.AddIndex(
            "half",
            models.Index(
                condition=models.Q(("shared_id__isnull", False)),
                fields=["shared_id"],
                name="half_by_shared_id",
            ),
        ),
    ]
