import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0360_usage_by_gateway_and_day"),
        ("revcred", "0250_gateway_public_url"),
    ]

    operations = [
        migrations.AlterField(
            model_name="gatewaytoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
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
                    ],
                    max_length=20,
                ),
                default=list,
                size=None,
            ),
        ),
        migrations.CreateModel(
            name="KeyInventory",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("read_from", models.CharField(help_text="Such as haproxy.", max_length=50)),
                ("began_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "pages",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.IntegerField(), default=list, size=None
                    ),
                ),
                (
                    "keys",
                    models.PositiveIntegerField(default=0, help_text="Counted when it ended."),
                ),
                (
                    "gateway",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="revcred.gateway",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="InventoriedKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("page", models.IntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("key", "What callers send"),
                            ("digest", "A digest of it, as a snapshot has it"),
                            ("alias", "An id that the gateway logs instead"),
                        ],
                        max_length=6,
                    ),
                ),
                ("fingerprint", models.UUIDField()),
                ("hint", models.CharField(blank=True, max_length=4)),
                ("is_enabled", models.BooleanField()),
                ("created_at", models.DateTimeField(null=True)),
                ("label", models.CharField(blank=True, max_length=100)),
                (
                    "inventory",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="entries",
                        to="metering.keyinventory",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddConstraint(
            model_name="keyinventory",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None)),
                fields=("gateway",),
                name="keyinventory_one_in_progress",
            ),
        ),
        migrations.AddIndex(
            model_name="inventoriedkey",
            index=models.Index(fields=["inventory", "page"], name="inventoriedkey_by_page"),
        ),
        migrations.AddIndex(
            model_name="inventoriedkey",
            index=models.Index(fields=["fingerprint"], name="inventoriedkey_by_fingerprint"),
        ),
    ]
