from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0191_what_fields_do"),
    ]

    operations = [
        migrations.AddField(
            model_name="externalkey",
            name="end_by_subscriber",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddField(
            model_name="suspension",
            name="by_subscriber",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="A subscriber made it, and may end it. Others are the provider's to end.",
                verbose_name="by a subscriber",
            ),
        ),
    ]
