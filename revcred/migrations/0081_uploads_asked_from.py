from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0072_what_audit_records")]

    operations = [
        migrations.AddField(
            "upload",
            "asked_from",
            models.JSONField(default=dict, db_default={}, editable=False),
        ),
    ]
