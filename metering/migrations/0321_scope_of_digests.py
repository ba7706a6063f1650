from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0320_key_inventories"),
    ]

    operations = [
        migrations.AlterField(
            model_name="gatewaytoken",
            name="scopes",
            field=ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("transactions:post", "Post transactions"),
                        ("receipts:read", "Read receipts"),
                        ("calls:check", "Ask whether a call may be let through"),
                        (
                            "calls:vouch",
                            "Ask so by an id or a subscription that the gateway vouches for",
                        ),
                        ("keys:inventory", "Send lists of the keys that the gateway lets in"),
                        ("keys:read", "Read digests of the keys that are valid"),
                    ],
                    max_length=20,
                ),
                default=list,
                size=None,
            ),
        ),
    ]
