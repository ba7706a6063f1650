from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0170_upload_steps")]

    # Without a default, with which the whole table would be written anew: the next one sets it.
    operations = [
        migrations.AddField(
            "credential", "public_id", models.CharField(editable=False, max_length=40, null=True)
        ),
    ]
