from django.db import migrations, models

from revcred.models.credentials import RandomPublicId

ROWS_AT_ONCE = 5_000


def give_public_ids(apps, schema_editor):
    """Give each credential without a public id one, a few thousand in a transaction."""
    credentials = apps.get_model("revcred", "Credential").objects
    first = 0
    while True:
        numbers = credentials.filter(pk__gt=first, public_id=None).order_by("pk")
        numbers = list(numbers.values_list("pk", flat=True)[:ROWS_AT_ONCE])
        if not numbers:
            return
        credentials.filter(pk__in=numbers, public_id=None).update(public_id=RandomPublicId())
        first = numbers[-1]


class Migration(migrations.Migration):
    dependencies = [("revcred", "0210_public_ids")]
    # Each batch and the index by itself, so that nothing is locked for long.
    atomic = False

    operations = [
        migrations.AlterField(
            "credential",
            "public_id",
            models.CharField(
                db_default=RandomPublicId(),
                editable=False,
                max_length=40,
                null=True,
            ),
        ),
        migrations.RunPython(give_public_ids, migrations.RunPython.noop, elidable=True),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                # An index that was interrupted is not valid, and is made again.
                migrations.RunSQL("DROP INDEX IF EXISTS credential_public_id", "SELECT 1"),
                migrations.RunSQL(
                    "CREATE UNIQUE INDEX CONCURRENTLY credential_public_id"
                    " ON revcred_credential (public_id)",
                    "DROP INDEX IF EXISTS credential_public_id",
                ),
            ],
            state_operations=[
                migrations.AddConstraint(
                    "credential",
                    models.UniqueConstraint("public_id", name="credential_public_id"),
                )
            ],
        ),
    ]
