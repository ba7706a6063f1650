from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("metering", "0021_passed_over_and_shared_ids")]

    operations = [
        migrations.AddField(
            "claim", "with_sources", models.BooleanField(db_default=False, editable=False)
        ),
        migrations.AddField(
            "claim",
            "expected",
            models.PositiveBigIntegerField("calls to move", editable=False, null=True),
        ),
    ]
