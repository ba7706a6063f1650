"""Tables, columns and stored calls take the names that the code has: no release knew the old."""

from collections.abc import Callable
from typing import Any

from django.db import migrations, models

RENAMED_MODELS = {"tally": "intakestats", "half": "partialtransaction"}
# Written by the code alone and right at a call's beginning, where no text of a caller can stand.
STORED_CALL_NAMES = r"""
UPDATE {table} SET {column} = regexp_replace({column},
    '(\{{"made_id":"[0-9a-f]{{32}}",)"{old_key}":("[0-9a-f]{{32}}",(?:"shared_id":"[0-9a-f]{{32}}",)?)"{old_hash}":',
    '\1"{new_key}":\2"{new_hash}":', 'g')
"""
OLD_NAMES, NEW_NAMES = ("identity", "digest"), ("dedup_key", "content_hash")


def _rename_in_stored_calls(old: tuple[str, str], new: tuple[str, str]) -> str:
    names = dict(zip(("old_key", "old_hash", "new_key", "new_hash"), (*old, *new), strict=True))
    return STORED_CALL_NAMES.format(table="metering_delivery", column="body", **names)


def _rename_permissions(names: dict[str, str]) -> Callable[[Any, Any], None]:
    def rename(apps: Any, schema_editor: Any) -> None:
        permissions = apps.get_model("auth", "Permission").objects
        for old, new in names.items():
            for verb in ("add", "change", "delete", "view"):
                permissions.filter(
                    content_type__app_label="metering", codename=f"{verb}_{old}"
                ).update(codename=f"{verb}_{new}")

    return rename


def _reverse(names: dict[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}


def _rename_partitions(old: str, new: str) -> str:
    return "".join(f"ALTER TABLE {old}_{part} RENAME TO {new}_{part};" for part in range(8))


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0091_halves_under_ids_of_callers"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.RenameModel("Half", "PartialTransaction"),
        migrations.RenameModel("Remembered", "SeenTransaction"),
        migrations.RenameModel("Tally", "IntakeStats"),
        migrations.RunPython(
            _rename_permissions(RENAMED_MODELS), _rename_permissions(_reverse(RENAMED_MODELS))
        ),
        migrations.RunSQL(
            _rename_partitions("metering_remembered", "metering_seentransaction"),
            _rename_partitions("metering_seentransaction", "metering_remembered"),
        ),
        migrations.RenameField("partialtransaction", "identity", "dedup_key"),
        migrations.RenameField("seentransaction", "identity", "dedup_key"),
        migrations.RenameField("seentransaction", "digest", "content_hash"),
        migrations.RenameField("idempotentpost", "mark", "key_hash"),
        migrations.RenameField("idempotentpost", "content", "content_hash"),
        migrations.RunSQL(
            _rename_in_stored_calls(OLD_NAMES, NEW_NAMES),
            _rename_in_stored_calls(NEW_NAMES, OLD_NAMES),
        ),
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "ALTER INDEX tally_once_an_hour RENAME TO intakestats_once_an_hour",
                    "ALTER INDEX intakestats_once_an_hour RENAME TO tally_once_an_hour",
                )
            ],
            [
                migrations.RemoveConstraint("intakestats", "tally_once_an_hour"),
                migrations.AddConstraint(
                    "intakestats",
                    models.UniqueConstraint("hour", "gateway", name="intakestats_once_an_hour"),
                ),
            ],
        ),
        migrations.RenameIndex(
            "partialtransaction", new_name="partial_by_next_look", old_name="half_by_next_look"
        ),
        migrations.RenameIndex(
            "partialtransaction", new_name="partial_by_shared_id", old_name="half_by_shared_id"
        ),
        migrations.RenameIndex(
            "seentransaction",
            new_name="seentransaction_by_received",
            old_name="remembered_by_received",
        ),
        migrations.RenameIndex(
            "seentransaction",
            new_name="seentransaction_by_shared_id",
            old_name="remembered_by_shared_id",
        ),
        migrations.AlterModelOptions(
            "intakestats",
            options={
                "ordering": ("-hour",),
                "verbose_name": "traffic by gateway and hour",
                "verbose_name_plural": "traffic by gateway and hour",
            },
        ),
        migrations.AlterModelOptions(
            "claim",
            options={
                "ordering": ("-pk",),
                "verbose_name": "re-attribution",
                "verbose_name_plural": "re-attribution",
            },
        ),
        migrations.AlterModelOptions(
            "partialtransaction",
            options={"default_permissions": (), "verbose_name_plural": "partial transactions"},
        ),
        migrations.AlterModelOptions(
            "delivery",
            options={
                "ordering": ("next_try_at",),
                "verbose_name": "waiting batch",
                "verbose_name_plural": "waiting batches",
            },
        ),
        migrations.AlterField(
            "intakestats",
            "gateway",
            models.ForeignKey(
                on_delete=models.CASCADE, related_name="intake_stats", to="revcred.gateway"
            ),
        ),
        migrations.AlterField(
            "intakestats",
            "lag",
            models.FloatField("seconds from received to attributed, summed", default=0),
        ),
    ]
