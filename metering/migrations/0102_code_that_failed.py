from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("metering", "0101_names_of_the_field")]

    operations = [
        migrations.AddField(
            "quarantined",
            "code_version",
            models.CharField(blank=True, db_default="", default="", max_length=250),
        ),
    ]
