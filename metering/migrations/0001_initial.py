import django.db.models.deletion
import django.contrib.postgres.fields
import django.db.models.functions.datetime
import django.utils.timezone
import metering.models.functions
from django.db import migrations, models


# RFC 9562, version 7: a random UUID with the millisecond laid over its first six bytes, and the
# version's bits set. PostgreSQL 18 has its own.
BEFORE_18 = """
encode(
    set_bit(set_bit(
        overlay(
            uuid_send(gen_random_uuid())
            PLACING substring(
                int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3
            )
            FROM 1 FOR 6
        ),
    52, 1), 53, 1),
    'hex'
)::uuid
"""


def create_time_ordered_id(apps, schema_editor):
    body = "uuidv7()" if schema_editor.connection.pg_version >= 180_000 else BEFORE_18
    schema_editor.execute(
        "CREATE FUNCTION time_ordered_id() RETURNS uuid"
        f" LANGUAGE sql VOLATILE PARALLEL SAFE AS $$ SELECT {body} $$"
    )


def drop_time_ordered_id(apps, schema_editor):
    schema_editor.execute("DROP FUNCTION time_ordered_id()")


class Migration(migrations.Migration):
    initial = True

    dependencies = [("revcred", "0001_initial")]

    operations = [
        migrations.RunPython(create_time_ordered_id, drop_time_ordered_id),
        migrations.CreateModel(
            name="Remembered",
            fields=[
                ("identity", models.UUIDField(primary_key=True, serialize=False)),
                ("transaction", models.UUIDField()),
                ("digest", models.UUIDField()),
                ("occurred_at", models.DateTimeField()),
                ("received_at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Claim",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("cause", models.CharField(max_length=200)),
                ("by", models.CharField(blank=True, max_length=254)),
                ("since", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("after", models.UUIDField(editable=False, null=True)),
                ("correcting", models.BooleanField(default=False, editable=False)),
                (
                    "looked_at",
                    models.PositiveBigIntegerField(
                        default=0, editable=False, verbose_name="looked at"
                    ),
                ),
                ("attributed", models.PositiveBigIntegerField(default=0, editable=False)),
                ("corrected", models.PositiveBigIntegerField(default=0, editable=False)),
                ("finished_at", models.DateTimeField(editable=False, null=True)),
                (
                    "credential",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="revcred.credential",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="revcred.product",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="revcred.subscription",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.CreateModel(
            name="Conflict",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("transaction", models.UUIDField(db_index=True)),
                ("transaction_id", models.TextField()),
                ("received_at", models.DateTimeField()),
                ("content", models.JSONField()),
                (
                    "gateway",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="revcred.gateway",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=metering.models.functions.TimeOrderedId(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("transactions", models.PositiveIntegerField()),
                ("rejected", models.PositiveIntegerField(default=0)),
                ("body", models.TextField()),
                ("attempts", models.PositiveIntegerField(db_default=0)),
                (
                    "next_try_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("last_error", models.CharField(db_default="", max_length=200)),
                (
                    "gateway",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="revcred.gateway",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "ordering": ("next_try_at",),
            },
        ),
        migrations.CreateModel(
            name="GatewayToken",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(blank=True, help_text="Where it is used.", max_length=100),
                ),
                ("digest", models.UUIDField(editable=False, unique=True)),
                ("hint", models.CharField(editable=False, max_length=4)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("transactions:post", "Post transactions"),
                                ("receipts:read", "Read receipts"),
                            ],
                            max_length=20,
                        ),
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("revoked_at", models.DateTimeField(editable=False, null=True)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                (
                    "gateway",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tokens",
                        to="revcred.gateway",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.CreateModel(
            name="Quarantined",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("transaction_id", models.TextField()),
                ("occurred_at", models.DateTimeField()),
                ("received_at", models.DateTimeField()),
                ("subscription_named", models.TextField(blank=True, default="")),
                ("source_named", models.TextField(blank=True, default="")),
                ("method", models.TextField(blank=True, default="")),
                ("path", models.TextField(blank=True, default="")),
                ("status", models.SmallIntegerField(null=True)),
                ("request_bytes", models.BigIntegerField(null=True)),
                ("response_bytes", models.BigIntegerField(null=True)),
                ("latency_ms", models.FloatField(null=True)),
                ("elements", models.JSONField()),
                ("metadata", models.JSONField(null=True)),
                ("corrects", models.UUIDField(null=True)),
                ("fingerprint", models.UUIDField(null=True)),
                ("hint", models.CharField(blank=True, default="", max_length=4)),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("unknown_key", "No credential has this key"),
                            ("key_not_valid", "The key or its credential was not valid then"),
                            ("no_subscription", "No subscription fits that moment and source"),
                            (
                                "subscription_mismatch",
                                "The key does not feed the named subscription",
                            ),
                            ("ambiguous", "More than one subscription fits"),
                            ("anonymous", "Neither a key nor a subscription is named"),
                            ("poison", "It could not be processed"),
                        ],
                        max_length=21,
                    ),
                ),
                ("quarantined_at", models.DateTimeField()),
                ("error", models.CharField(blank=True, default="", max_length=200)),
                ("released_at", models.DateTimeField(null=True)),
                ("released_by", models.CharField(blank=True, default="", max_length=254)),
                ("release_note", models.CharField(blank=True, default="", max_length=500)),
                (
                    "gateway",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.gateway",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "quarantine",
                "ordering": ("-occurred_at",),
            },
        ),
        migrations.CreateModel(
            name="Tally",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("accepted", models.BigIntegerField(default=0)),
                ("rejected", models.BigIntegerField(default=0)),
                ("repeated", models.BigIntegerField(default=0)),
                ("conflicting", models.BigIntegerField(default=0)),
                ("attributed", models.BigIntegerField(default=0)),
                ("quarantined", models.BigIntegerField(default=0)),
                (
                    "lag",
                    models.FloatField(
                        default=0, verbose_name="seconds from received to settled, summed"
                    ),
                ),
                (
                    "gateway",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tallies",
                        to="revcred.gateway",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "tallies",
                "ordering": ("-hour",),
            },
        ),
        migrations.CreateModel(
            name="Transaction",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("transaction_id", models.TextField()),
                ("occurred_at", models.DateTimeField()),
                ("received_at", models.DateTimeField()),
                ("subscription_named", models.TextField(blank=True, default="")),
                ("source_named", models.TextField(blank=True, default="")),
                ("method", models.TextField(blank=True, default="")),
                ("path", models.TextField(blank=True, default="")),
                ("status", models.SmallIntegerField(null=True)),
                ("request_bytes", models.BigIntegerField(null=True)),
                ("response_bytes", models.BigIntegerField(null=True)),
                ("latency_ms", models.FloatField(null=True)),
                ("elements", models.JSONField()),
                ("metadata", models.JSONField(null=True)),
                ("corrects", models.UUIDField(null=True)),
                ("attributed_at", models.DateTimeField()),
                (
                    "matched_by",
                    models.CharField(
                        choices=[
                            ("key", "Key"),
                            ("alias", "Alias"),
                            ("subscription", "Subscription"),
                        ],
                        max_length=12,
                    ),
                ),
                ("quarantined_at", models.DateTimeField(null=True)),
                (
                    "quarantine_reason",
                    models.CharField(
                        choices=[
                            ("unknown_key", "No credential has this key"),
                            ("key_not_valid", "The key or its credential was not valid then"),
                            ("no_subscription", "No subscription fits that moment and source"),
                            (
                                "subscription_mismatch",
                                "The key does not feed the named subscription",
                            ),
                            ("ambiguous", "More than one subscription fits"),
                            ("anonymous", "Neither a key nor a subscription is named"),
                            ("poison", "It could not be processed"),
                        ],
                        max_length=21,
                        null=True,
                    ),
                ),
                ("sign", models.SmallIntegerField(default=1)),
                (
                    "assignment",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.assignment",
                    ),
                ),
                (
                    "claim",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="metering.claim",
                    ),
                ),
                (
                    "credential",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.credential",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.customer",
                    ),
                ),
                (
                    "external_key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.externalkey",
                    ),
                ),
                (
                    "gateway",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.gateway",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.product",
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.source",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="revcred.subscription",
                    ),
                ),
            ],
            options={
                "ordering": ("-occurred_at",),
            },
        ),
        migrations.CreateModel(
            name="Usage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("element", models.TextField()),
                ("count", models.BigIntegerField()),
                ("quantity", models.DecimalField(decimal_places=9, max_digits=38)),
                (
                    "credential",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="usage",
                        to="revcred.credential",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="revcred.customer",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="revcred.product",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="usage",
                        to="revcred.subscription",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "usage",
                "ordering": ("-hour",),
            },
        ),
        migrations.AddIndex(
            model_name="claim",
            index=models.Index(
                condition=models.Q(("finished_at", None)), fields=["id"], name="claim_unfinished"
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["next_try_at"], name="delivery_by_next_try"),
        ),
        migrations.AddIndex(
            model_name="quarantined",
            index=models.Index(fields=["fingerprint"], name="quarantined_by_fingerprint"),
        ),
        migrations.AddIndex(
            model_name="quarantined",
            index=models.Index(fields=["subscription_named"], name="quarantined_by_subscription"),
        ),
        migrations.AddIndex(
            model_name="quarantined",
            index=models.Index(
                condition=models.Q(("released_at", None)),
                fields=["reason", "fingerprint", "gateway", "hint", "occurred_at"],
                name="quarantined_open",
            ),
        ),
        migrations.AddIndex(
            model_name="quarantined",
            index=models.Index(
                condition=models.Q(("corrects__isnull", False)),
                fields=["corrects"],
                name="quarantined_by_corrected",
            ),
        ),
        migrations.AddConstraint(
            model_name="tally",
            constraint=models.UniqueConstraint(
                models.F("hour"), models.F("gateway"), name="tally_once_an_hour"
            ),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(
                fields=["subscription", "-occurred_at"], name="transaction_by_subscription"
            ),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(
                condition=models.Q(("corrects__isnull", False)),
                fields=["corrects"],
                name="transaction_by_corrected",
            ),
        ),
        migrations.AddConstraint(
            model_name="usage",
            constraint=models.UniqueConstraint(
                models.F("subscription"),
                models.F("hour"),
                models.F("element"),
                models.F("credential"),
                name="usage_once_an_hour",
                nulls_distinct=False,
            ),
        ),
        migrations.AddIndex(
            model_name="quarantined",
            index=models.Index(
                condition=models.Q(("released_at__isnull", False)),
                fields=["released_at"],
                name="quarantined_released",
            ),
        ),
    ]
