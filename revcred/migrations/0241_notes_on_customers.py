from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0262_signing_keys")]

    operations = [
        migrations.AddField(
            "customer",
            "notes",
            models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="For the provider only: subscribers never see them. Changes are on record.",
                max_length=4000,
            ),
        ),
    ]
