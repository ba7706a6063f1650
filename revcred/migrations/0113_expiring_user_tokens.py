"""Tokens of users' scripts may expire."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0111_sessions")]

    operations = [
        migrations.AddField("usertoken", "expires_at", models.DateTimeField(null=True)),
    ]
