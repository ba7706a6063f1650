from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0362_what_subscribers_do")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="time_zone",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="In which pages show the user moments, such as Europe/Berlin. Empty: UTC.",
                max_length=64,
            ),
        ),
    ]
