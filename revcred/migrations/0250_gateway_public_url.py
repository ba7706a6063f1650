import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0241_notes_on_customers"),
    ]

    operations = [
        migrations.AddField(
            model_name="gateway",
            name="public_url",
            field=models.CharField(
                "public address",
                blank=True,
                db_default="",
                default="",
                help_text="Where callers reach your API through it, such as https://api.example.com/. Subscribers see it beside a new key.",
                max_length=300,
                validators=[
                    django.core.validators.RegexValidator(
                        "^https?://[A-Za-z0-9.-]+(:\\d{1,5})?(/[A-Za-z0-9._~%/-]*)?\\Z",
                        "Enter an address such as https://api.example.com/v2/, without a query.",
                    )
                ],
            ),
        ),
    ]
