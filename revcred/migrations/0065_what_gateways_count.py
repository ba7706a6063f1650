import django.contrib.postgres.fields
from django.db import migrations, models

# Only new gateways begin as is usual for their kind: what is counted once today stays so.
AS_BEFORE = "UPDATE revcred_gateway SET ids_from_callers = false"


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0052_kept_by_triggers"),
    ]

    operations = [
        migrations.AddField(
            model_name="gateway",
            name="ids_from_callers",
            field=models.BooleanField(
                blank=True,
                choices=[(None, "As usual for its kind"), (True, "Yes"), (False, "No")],
                help_text="Yes: a caller may choose the id that this gateway reports, as with "
                "X-Request-Id behind Envoy. Calls of one id are then told apart by moment, method, "
                "path and status, so that nobody's later calls are free. No: one id is one call.",
                null=True,
                verbose_name="ids may come from callers",
            ),
        ),
        migrations.AddField(
            model_name="gateway",
            name="counted_records",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=100),
                blank=True,
                default=list,
                help_text="OpenTelemetry only: the names of further records that are calls, such "
                "as http.access. * stands for every record. Empty: records that carry usage, an id "
                "of a transaction or a credential.",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="gateway",
            name="kept_attributes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=100),
                blank=True,
                default=list,
                help_text="OpenTelemetry and calls of AI: the names of further attributes that are "
                "kept as metadata and shown to the customer. Never name one that holds a prompt or "
                "a key.",
                size=None,
            ),
        ),
        migrations.RunSQL(AS_BEFORE, migrations.RunSQL.noop),
    ]
