from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0122_backups_on_record")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="undo_dropped_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
