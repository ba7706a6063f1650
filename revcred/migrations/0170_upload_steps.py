from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("revcred", "0181_index_search_texts")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="step",
            field=models.CharField(blank=True, db_default="", editable=False, max_length=20),
        ),
        migrations.AddField(
            model_name="upload",
            name="step_seconds",
            field=models.JSONField(db_default={}, default=dict, editable=False),
        ),
        migrations.AddField(
            model_name="upload",
            name="undo_preview",
            field=models.JSONField(db_default={}, default=dict, editable=False),
        ),
        migrations.AlterField(
            model_name="upload",
            name="state",
            field=models.CharField(
                choices=[
                    ("checking", "Checking"),
                    ("unmapped", "Columns to be named"),
                    ("ready", "Ready to apply"),
                    ("applying", "Applying"),
                    ("applied", "Applied"),
                    ("cancelled", "Cancelled"),
                    ("failed", "Failed"),
                    ("undo_check", "Checking what undoing does"),
                    ("undoing", "Undoing"),
                    ("undone", "Undone"),
                ],
                db_index=True,
                default="checking",
                editable=False,
                max_length=10,
            ),
        ),
    ]
