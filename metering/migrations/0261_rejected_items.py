from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0260_line_formats"),
    ]

    operations = [
        migrations.AddField(
            model_name="rejection",
            name="item",
            field=models.TextField(
                help_text="What was rejected, without keys. Empty: too long, or not kept.",
                null=True,
            ),
        ),
    ]
