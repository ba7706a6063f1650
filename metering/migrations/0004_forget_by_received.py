import django.contrib.postgres.indexes
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0003_lighter_writes"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="remembered",
            index=django.contrib.postgres.indexes.BrinIndex(
                fields=["received_at"], name="remembered_by_received"
            ),
        ),
    ]
