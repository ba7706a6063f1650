from django.db import migrations, models

# Names have up to 300 characters. A wider limit rewrites no table, but PostgreSQL changes no column
# that a trigger names, and makes indexes on expressions again, while it locks the table. Those of
# the search take longest: they are made afterwards, without a lock. The search waits for them.
MAX_CHARACTERS = 300
SEARCH_INDEXES = {
    "customer": ("customer_by_search_text", "search_text(name, external_key)"),
    "subscriber": ("subscriber_by_search_text", "search_text(email, name, external_key)"),
    "subscription": ("subscription_by_search_text", "search_text(name, external_key)"),
    "credential": ("credential_by_search_text", "search_text(name)"),
}
RENAMING_TRIGGERS = {
    "customer": "customer_name",
    "product": "product_name",
    "credential": "credential_name",
}
BLANK = {"subscriber", "subscription"}
NOT_EDITABLE = {"formername", "credentialrequest"}
MODELS = (
    *("customer", "subscriber", "product", "source", "subscription", "credential"),
    *("formername", "credentialrequest"),
)


def widen(model):
    """Return the statements of one transaction that widens the model's column."""
    table = f"revcred_{model}"
    alter = f"ALTER TABLE {table} ALTER COLUMN name TYPE varchar({MAX_CHARACTERS});"
    if not (kind := RENAMING_TRIGGERS.get(model)):
        return alter
    return f"""
DROP TRIGGER {kind}_renamed ON {table};
{alter}
CREATE TRIGGER {kind}_renamed AFTER UPDATE OF name ON {table} FOR EACH ROW
    WHEN (OLD.name IS DISTINCT FROM NEW.name)
    EXECUTE FUNCTION keep_former_name('{kind}', 'name', 'lower');
"""


def operations_of(model):
    index, texts = SEARCH_INDEXES.get(model, (None, None))
    if index:
        yield migrations.RunSQL(
            f"DROP INDEX CONCURRENTLY IF EXISTS {index}", migrations.RunSQL.noop
        )
    yield migrations.SeparateDatabaseAndState(
        # Names may be longer by then, so the way back leaves the column as it is.
        database_operations=[migrations.RunSQL(widen(model), migrations.RunSQL.noop)],
        state_operations=[
            migrations.AlterField(
                model,
                "name",
                models.CharField(
                    max_length=MAX_CHARACTERS,
                    blank=model in BLANK,
                    editable=model not in NOT_EDITABLE,
                ),
            )
        ],
    )
    if index:
        # An index of an earlier try, which had to wait for a lock, may be there and invalid.
        create = [
            f"DROP INDEX CONCURRENTLY IF EXISTS {index}",
            f"CREATE INDEX CONCURRENTLY {index} ON revcred_{model}"
            f" USING gin ({texts} gin_trgm_ops)",
        ]
        yield migrations.RunSQL(create, migrations.RunSQL.noop)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("revcred", "0234_what_happens_to_requests")]

    operations = [operation for model in MODELS for operation in operations_of(model)]
