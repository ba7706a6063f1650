"""Columns, and the JSON in them, take the names that the code has: no release knew the old."""

from django.db import migrations, models

# Names of members end with a quote and a colon; a quote inside of a text is escaped.
RENAME_IN_PREVIEWS = """
UPDATE revcred_upload SET preview = replace(preview::text, '"{old}": ', '"{new}": ')::jsonb
WHERE preview::text LIKE '%"{old}": %';
"""
PREVIEW_NAMES = (
    ("firsts", "examples"),
    ("adds", "also_creates"),
    ("refused", "rejected"),
    ("is_refused", "is_rejected"),
)
RENAME_CHOICES = """
UPDATE revcred_upload SET choices = (
    SELECT jsonb_object_agg(key, CASE WHEN value = '"{old}"' THEN '"{new}"' ELSE value END)
    FROM jsonb_each(choices)
)
WHERE choices::text LIKE '%"{old}"%';
"""
RENAME_IN_UNDO_DATA = """
UPDATE revcred_uploadchange SET undo_data =
    (undo_data - '{old}') || jsonb_build_object('{new}', undo_data -> '{old}')
WHERE undo_data ? '{old}';
"""
# The tables of uploads that wait to be applied: a worker made them, and drops them.
RENAME_IN_STAGING_TABLES = """
DO $$
DECLARE
    staged record;
BEGIN
    FOR staged IN
        SELECT c.oid::regclass AS name, a.attname AS old, renamed.new
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid
        JOIN (VALUES {columns}) renamed (old, new) ON renamed.old = a.attname
        WHERE c.relkind = 'r' AND c.relname ~ '^revcred_uploadrow_[0-9]+$'
            AND c.relnamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format(
            'ALTER TABLE %s RENAME COLUMN %I TO %I', staged.name, staged.old, staged.new
        );
        IF staged.old = '{rejection_column}' THEN
            EXECUTE format(
                'UPDATE %s SET action = %L WHERE action = %L', staged.name, '{new}', '{old}'
            );
        END IF;
    END LOOP;
END $$
"""
STAGED_COLUMNS = (("refusals", "problems"), ("was", "version"))


def _sql_in_json(*, backwards: bool) -> str:
    def ordered(old: str, new: str) -> dict[str, str]:
        return {"old": new, "new": old} if backwards else {"old": old, "new": new}

    columns = ", ".join("('{old}', '{new}')".format(**ordered(*names)) for names in STAGED_COLUMNS)
    return "".join(
        (
            *(RENAME_IN_PREVIEWS.format(**ordered(*names)) for names in PREVIEW_NAMES),
            RENAME_CHOICES.format(**ordered("refuse", "reject")),
            RENAME_IN_UNDO_DATA.format(**ordered("secret_mark", "secret_fingerprint")),
            RENAME_IN_STAGING_TABLES.format(
                columns=columns,
                rejection_column=ordered(*STAGED_COLUMNS[0])["old"],
                **ordered("refused", "rejected"),
            ),
        )
    )


class Migration(migrations.Migration):
    dependencies = [("revcred", "0081_uploads_asked_from")]

    operations = [
        migrations.RenameModel("SealedCanary", "KeyringCheck"),
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "ALTER TABLE revcred_keyringcheck"
                    " RENAME CONSTRAINT sealedcanary_only_one TO keyringcheck_only_one",
                    "ALTER TABLE revcred_keyringcheck"
                    " RENAME CONSTRAINT keyringcheck_only_one TO sealedcanary_only_one",
                )
            ],
            [
                migrations.RemoveConstraint("keyringcheck", "sealedcanary_only_one"),
                migrations.AddConstraint(
                    "keyringcheck",
                    models.CheckConstraint(
                        condition=models.Q(("pk", 1)), name="keyringcheck_only_one"
                    ),
                ),
            ],
        ),
        migrations.RenameField("sealedvalue", "secret_mark", "secret_fingerprint"),
        migrations.RenameField("upload", "for_all", "fixed_values"),
        migrations.RenameField("upload", "shape", "file_format"),
        migrations.RenameField("upload", "whole", "all_or_nothing"),
        migrations.AlterField(
            "upload", "all_or_nothing", models.BooleanField(default=False, editable=False)
        ),
        migrations.RenameField("uploadchange", "links", "undo_data"),
        migrations.AlterField(
            "uploadchange",
            "action",
            models.CharField(
                choices=[
                    ("create", "Create"),
                    ("update", "Update"),
                    ("move", "Move"),
                    ("unchanged", "Unchanged"),
                    ("rejected", "Rejected"),
                ],
                max_length=10,
            ),
        ),
        migrations.RunSQL(_sql_in_json(backwards=False), _sql_in_json(backwards=True)),
    ]
