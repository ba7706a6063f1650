from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0121_personal_fields_beside_the_chain")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="undo_dropped_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
