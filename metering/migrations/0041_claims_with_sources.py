from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("metering", "0031_moments_outside_and_rejections")]

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
