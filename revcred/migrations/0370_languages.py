from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0311_company_sign_ins"),
    ]

    operations = [
        migrations.AddField(
            model_name="appearance",
            name="language",
            field=models.CharField(
                choices=[("en", "English"), ("de", "Deutsch")],
                db_default="en",
                default="en",
                help_text="Of pages and mails for subscribers who have chosen none. Pages are in the browser's language where it is one of these.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="language",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of pages of the storefront and mails, such as de. Empty: the browser's.",
                max_length=10,
            ),
        ),
    ]
