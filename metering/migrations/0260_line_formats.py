from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0240_matched_by_public_ids"),
    ]

    operations = [
        migrations.CreateModel(
            name="LineFormat",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.SlugField(db_index=False, max_length=50)),
                ("version", models.PositiveIntegerField()),
                (
                    "definition",
                    models.JSONField(help_text="See metering.api.line_formats.definition."),
                ),
                ("saved_at", models.DateTimeField(db_default=Now())),
                (
                    "saved_by",
                    models.CharField(blank=True, db_default="", default="", max_length=254),
                ),
            ],
            options={
                "ordering": ("name", "-version"),
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("name", "version"), name="lineformat_version")
                ],
            },
        ),
    ]
