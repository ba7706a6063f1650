from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0226_saved_views"),
    ]

    operations = [
        migrations.AddField(
            model_name="product",
            name="credential_issuing",
            field=models.CharField(
                choices=[
                    ("provider", "Only the provider"),
                    ("request", "Subscribers on request, which somebody approves"),
                    ("subscriber", "Subscribers by themselves"),
                ],
                db_default="provider",
                default="provider",
                help_text="Members and owners of a customer find this in the storefront; viewers do not.",
                max_length=10,
                verbose_name="who issues credentials",
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="credential_limit",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Subscribers issue or request no more than these. Empty: as many as they want.",
                null=True,
                verbose_name="most credentials of a customer",
            ),
        ),
        migrations.AddField(
            model_name="product",
            name="credential_max_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Subscribers have to choose an expiry within these days. Empty: none is needed.",
                null=True,
                verbose_name="longest lifetime of a credential, in days",
            ),
        ),
    ]
