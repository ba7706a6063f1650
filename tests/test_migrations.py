"""Old code survives new migrations: it runs while they are applied, and then beside new code."""

import re
from inspect import getsource
from sys import modules

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ModelState, ProjectState

# The newest migrations of the last release: its code runs beside all that came later.
RELEASED = [("metering", "0101_names_of_the_field"), ("revcred", "0101_names_of_the_field")]
# Of millions of rows in a large installation, or read and written by every POST.
BIG_TABLES = {
    *("auditevent", "assignment", "claim", "conflict", "credential", "delivery", "externalkey"),
    *("gateway", "gatewaytoken", "quarantined", "sealedvalue", "seentransaction", "transaction"),
    *("uploadchange", "usage"),
}
# Each breaks a rule below, for a reason that somebody has thought about.
EXCEPTIONS = {
    "metering.0110_partition_quarantine": (
        "The table has the same name and columns afterwards. It is read before it is locked, and"
        " the indexes that are made are those of empty tables."
    ),
    "revcred.0211_public_ids_of_old_credentials": (
        "The unique index is built concurrently; the constraint is added to the state alone."
    ),
    "revcred.0240_longer_names": (
        "A column becomes wider, which old code does not notice. The indexes that PostgreSQL makes"
        " again under its lock take 2 s of a million rows; those of the search are built later."
    ),
    "revcred.0225_lists_narrowed_by_filters": (
        "The indexes are built concurrently, and added to the state alone."
    ),
    "revcred.0111_sessions": (
        "Cookies of old sessions could be used by whoever reads a backup: people sign in again."
    ),
}

TAKES_AWAY = (
    *(migrations.RemoveField, migrations.DeleteModel, migrations.RenameField),
    *(migrations.RenameModel, migrations.AlterModelTable),
)
LOCKS_WHILE_IT_READS = (migrations.AddIndex, migrations.AddConstraint)
SQL_THAT_BREAKS = re.compile(
    r"\bRENAME\b|\bDROP (?:COLUMN|TABLE|VIEW)\b|\bALTER COLUMN\b|\bSET NOT NULL\b"
    r"|\b(?:DELETE FROM|TRUNCATE|UPDATE) (?!OR\b|ON\b)|\bCREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)"
)
# Of functions that are only created: they run later.
FUNCTION_BODY = re.compile(r"AS (\$\w*\$).*?\1", re.DOTALL)


def problems(operation, before):
    """Yield why code of before the operation, or its traffic, does not survive it."""
    for inner in nested(operation):
        yield from problems(inner, before)
    name = type(operation).__name__
    if isinstance(operation, TAKES_AWAY):
        yield f"{name} takes away what old code uses"
    if isinstance(operation, migrations.AddField):
        field = operation.field
        if not field.null and not field.many_to_many and not field.has_db_default():
            yield f"AddField {operation.name}: old code does not fill it, and it has no db_default"
        if operation.model_name_lower in BIG_TABLES and (field.db_index or field.unique):
            yield f"AddField {operation.name} builds an index while it locks a large table"
    if isinstance(operation, migrations.AlterField):
        yield from narrowed(operation, before)
    if isinstance(operation, LOCKS_WHILE_IT_READS) and operation.model_name_lower in BIG_TABLES:
        yield f"{name} locks a large table while it reads it"
    if isinstance(operation, migrations.RunSQL):
        yield from breaking_sql(str(operation.sql))
    if isinstance(operation, migrations.RunPython):
        yield from breaking_sql(getsource(modules[operation.code.__module__]))


def nested(operation):
    return [
        *getattr(operation, "database_operations", ()),
        *getattr(operation, "state_operations", ()),
    ]


def narrowed(operation, before):
    model = before.models[operation.app, operation.model_name_lower]
    was, field = model.fields[operation.name], operation.field
    if type(was) is not type(field):
        yield f"AlterField {operation.name} has another type"
    if was.null and not field.null:
        yield f"AlterField {operation.name} refuses what old code may write"
    if field.max_length and (was.max_length or field.max_length + 1) > field.max_length:
        yield f"AlterField {operation.name} is shorter"
    if field.unique and not was.unique:
        yield f"AlterField {operation.name} is unique"
    if field.db_index and not was.db_index and operation.model_name_lower in BIG_TABLES:
        yield f"AlterField {operation.name} builds an index while it locks a large table"


def breaking_sql(text):
    for found in SQL_THAT_BREAKS.findall(FUNCTION_BODY.sub("", text)):
        yield f"SQL: {found.strip()}"


def found_in(migration, before):
    found = []
    for operation in migration.operations:
        for each in (operation, *nested(operation)):
            each.app = migration.app_label
        found += problems(operation, before)
    return found


@pytest.fixture(scope="module")
def loader():
    return MigrationLoader(None)


def test_old_code_survives_every_new_migration(loader):
    released = {node for newest in RELEASED for node in loader.graph.forwards_plan(newest)}
    new = {
        key: migration
        for key, migration in loader.disk_migrations.items()
        if key[0] in ("metering", "revcred") and key not in released
    }

    found = {}
    for key, migration in new.items():
        operations = [inner for each in migration.operations for inner in (each, *nested(each))]
        alters = any(isinstance(each, migrations.AlterField) for each in operations)
        before = loader.project_state(key, at_end=False) if alters else ProjectState()
        if why := found_in(migration, before):
            found[".".join(key)] = why

    assert {name: why for name, why in found.items() if name not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() - found.keys() == set(), "These need no exception."


def was(**fields):
    state = ProjectState()
    state.add_model(ModelState("metering", "Quarantined", list(fields.items())))
    return state


@pytest.mark.parametrize(
    "operation",
    [
        migrations.RemoveField("quarantined", "text"),
        migrations.RenameField("quarantined", "text", "words"),
        migrations.DeleteModel("quarantined"),
        migrations.RenameModel("quarantined", "unattributed"),
        migrations.AddField("quarantined", "more", models.TextField(default="")),
        migrations.AddField("quarantined", "more", models.TextField(null=True, db_index=True)),
        migrations.AlterField("quarantined", "text", models.CharField(max_length=20)),
        migrations.AlterField("quarantined", "text", models.CharField(max_length=10, null=True)),
        migrations.AlterField("quarantined", "text", models.TextField(null=True)),
        migrations.AlterField(
            "quarantined", "text", models.CharField(max_length=20, null=True, unique=True)
        ),
        migrations.AddIndex("quarantined", models.Index(fields=["text"], name="by_text")),
        migrations.RunSQL("ALTER TABLE metering_quarantined RENAME COLUMN text TO words"),
        migrations.RunSQL("CREATE INDEX by_text ON metering_quarantined (text)"),
        migrations.SeparateDatabaseAndState([migrations.RunSQL("DROP TABLE metering_claim")]),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_what_old_code_does_not_survive_is_found(operation):
    operation.app = "metering"

    assert list(problems(operation, was(text=models.CharField(max_length=20, null=True))))


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("quarantined", "more", models.TextField(null=True)),
        migrations.AddField("quarantined", "more", models.TextField(default="", db_default="")),
        migrations.AlterField("quarantined", "text", models.CharField(max_length=21, null=True)),
        migrations.RunSQL("CREATE INDEX CONCURRENTLY by_text ON metering_quarantined (text)"),
        migrations.RunSQL("CREATE FUNCTION f() AS $$ DROP TABLE metering_claim $$"),
        migrations.RunSQL("CREATE TRIGGER t BEFORE UPDATE OR DELETE ON metering_claim"),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_what_only_adds_is_not(operation):
    operation.app = "metering"

    assert not list(problems(operation, was(text=models.CharField(max_length=20, null=True))))
