from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0213_notices_of_changes"),
    ]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="header_row",
            field=models.PositiveIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="upload",
            name="findings",
            field=models.JSONField(db_default={}, default=dict, editable=False),
        ),
        migrations.AddField(
            model_name="rememberedmapping",
            name="fixed_values",
            field=models.JSONField(db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="rememberedmapping",
            name="choices",
            field=models.JSONField(db_default={}, default=dict),
        ),
    ]
