import django.db.models.deletion
from django.db import migrations, models

# A body is compressed to wait for a moment, so quickly is better than well. Not every server was
# built with lz4; there it is kept as it is.
COMPRESS_QUICKLY = """
DO $$
BEGIN
    ALTER TABLE metering_delivery ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    ALTER TABLE metering_delivery ALTER COLUMN body SET STORAGE EXTERNAL;
END
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0002_partitions"),
        ("revcred", "0004_narrow_lookups"),
    ]

    operations = [
        migrations.RunSQL(COMPRESS_QUICKLY, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="delivery",
            name="gateway",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="revcred.gateway",
            ),
        ),
        migrations.AlterField(
            model_name="usage",
            name="credential",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="usage",
                to="revcred.credential",
            ),
        ),
        migrations.AlterField(
            model_name="usage",
            name="customer",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="revcred.customer",
            ),
        ),
        migrations.AlterField(
            model_name="usage",
            name="product",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="revcred.product",
            ),
        ),
        migrations.AlterField(
            model_name="usage",
            name="subscription",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="usage",
                to="revcred.subscription",
            ),
        ),
    ]
