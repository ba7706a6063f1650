"""Counters of limits leave the cache, which forgot them when it was full."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0101_names_of_the_field")]

    operations = [
        migrations.CreateModel(
            name="RateCounter",
            fields=[
                ("key", models.UUIDField(primary_key=True, serialize=False)),
                ("used", models.PositiveIntegerField()),
                ("waits_until", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
            options={"default_permissions": ()},
        ),
    ]
