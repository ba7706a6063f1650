from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0225_lists_narrowed_by_filters"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="upload",
            options={
                "default_permissions": ("add", "view"),
                "ordering": ("-pk",),
                "permissions": (
                    ("apply_upload", "Can apply, cancel and undo uploads"),
                    (
                        "upload_usage",
                        "Can count calls of uploaded lists, and take them back",
                    ),
                ),
            },
        ),
    ]
