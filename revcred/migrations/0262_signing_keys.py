import django.utils.timezone
from django.db import migrations, models

import revcred.crypto

# As in 0213, with whether the gateway's answers are signed; and of each new or withdrawn key.
COLUMNS = (
    *("name", "suspended_at", "check_mode", "check_refuses_over_quota", "key_place"),
    *("key_name", "signs_claims"),
)


def announce_changes_of(*columns):
    old, new = (", ".join(f"{row}.{column}" for column in columns) for row in ("OLD", "NEW"))
    return (
        "DROP TRIGGER announce_change ON revcred_gateway;"
        "CREATE TRIGGER announce_change AFTER UPDATE ON revcred_gateway FOR EACH ROW"
        f" WHEN (({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION announce_change('gateway')"
    )


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0270_formats_of_lines"),
    ]

    operations = [
        migrations.CreateModel(
            name="SigningKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key_id", models.CharField(max_length=43, unique=True)),
                ("public", models.CharField(max_length=43)),
                ("private", revcred.crypto.SealedTextField(editable=False)),
                ("signs_from", models.DateTimeField()),
                ("published_until", models.DateTimeField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "ordering": ("-signs_from", "-pk"),
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(
            "CREATE TRIGGER announce_change AFTER INSERT OR DELETE OR UPDATE ON revcred_signingkey"
            " FOR EACH STATEMENT EXECUTE FUNCTION announce_change('gateway')",
            "DROP TRIGGER announce_change ON revcred_signingkey",
        ),
        migrations.AddField(
            model_name="gateway",
            name="signs_claims",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Answers then have X-Revcred-Claim: whose the call is, signed, good for"
                " a minute.",
                verbose_name="send backends a signed claim",
            ),
        ),
        migrations.RunSQL(
            announce_changes_of(*COLUMNS),
            announce_changes_of(*COLUMNS[:-1]),
        ),
    ]
