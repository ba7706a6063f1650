from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0009_claims_of_uploads"),
    ]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="passed_over",
            field=models.PositiveIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="tally",
            name="passed_over",
            field=models.BigIntegerField(
                db_default=0,
                help_text="Records that are no calls, such as a program's other logs.",
            ),
        ),
        migrations.AddField(
            model_name="remembered",
            name="shared_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddIndex(
            model_name="remembered",
            index=models.Index(
                condition=models.Q(("shared_id__isnull", False)),
                fields=["shared_id"],
                name="remembered_by_shared_id",
            ),
        ),
    ]
