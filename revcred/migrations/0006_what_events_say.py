import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0005_keys_that_never_counted"),
    ]

    operations = [
        migrations.AddField(
            model_name="gateway",
            name="event_elements",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=100),
                blank=True,
                default=list,
                help_text="Which members of its CloudEvents' data are counted, such as tokens or usage.output_tokens. Empty: all that are numbers.",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="gateway",
            name="event_subject",
            field=models.CharField(
                choices=[
                    ("key", "The key of the caller"),
                    ("subscription", "The external key of the subscription"),
                ],
                default="key",
                help_text="What the subject of its CloudEvents names.",
                max_length=12,
            ),
        ),
    ]
