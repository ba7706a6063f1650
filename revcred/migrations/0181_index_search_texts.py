from django.db import migrations

# The search looks for words anywhere in these texts. An index of an earlier try, which had to wait
# for a lock, may be there and invalid.
INDEXES = {
    "customer_by_search_text": ("revcred_customer", "search_text(name, external_key)"),
    "subscriber_by_search_text": ("revcred_subscriber", "search_text(email, name, external_key)"),
    "subscription_by_search_text": ("revcred_subscription", "search_text(name, external_key)"),
    "credential_by_search_text": ("revcred_credential", "search_text(name)"),
}


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("revcred", "0180_search_texts")]

    operations = [
        migrations.RunSQL(
            [
                f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
                f"CREATE INDEX CONCURRENTLY {name} ON {table} USING gin ({texts} gin_trgm_ops)",
            ],
            f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
        )
        for name, (table, texts) in INDEXES.items()
    ]
