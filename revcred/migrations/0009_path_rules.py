import django.db.models.deletion
import django.db.models.lookups
from django.db import migrations, models

# A beginning that several sources had was the first one's.
RULES_OF_PREFIXES = """
INSERT INTO revcred_pathrule (source_id, match, text)
SELECT s.id, 'begins_with', prefix
FROM revcred_source s, unnest(s.url_prefixes) prefix
ORDER BY s.id
ON CONFLICT (match, text) DO NOTHING;
SET CONSTRAINTS ALL IMMEDIATE;
"""
PREFIXES_OF_RULES = """
UPDATE revcred_source s SET url_prefixes = array(
    SELECT text FROM revcred_pathrule WHERE source_id = s.id AND match = 'begins_with'
);
SET CONSTRAINTS ALL IMMEDIATE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0008_user_tokens"),
    ]

    operations = [
        migrations.CreateModel(
            name="PathRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "match",
                    models.CharField(
                        choices=[
                            ("equals", "equals"),
                            ("begins_with", "begins with"),
                            ("ends_with", "ends with"),
                            ("contains", "contains"),
                            ("regex", "fits the expression"),
                        ],
                        default="begins_with",
                        max_length=12,
                        verbose_name="the path",
                    ),
                ),
                ("text", models.CharField(max_length=500)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="path_rules",
                        to="revcred.source",
                    ),
                ),
            ],
            options={
                "ordering": ("pk",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("match", "text"),
                        name="one_source_per_path_rule",
                        violation_error_message="This rule is a source's already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("match", "regex"), _negated=True),
                            django.db.models.lookups.IsNull(
                                django.db.models.lookups.Regex(models.Value(""), models.F("text")),
                                False,
                            ),
                            _connector="OR",
                        ),
                        name="path_rule_compiles",
                    ),
                ],
            },
        ),
        migrations.RunSQL(RULES_OF_PREFIXES, PREFIXES_OF_RULES),
        migrations.RemoveField(
            model_name="source",
            name="url_prefixes",
        ),
    ]
