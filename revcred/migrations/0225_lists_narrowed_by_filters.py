from django.contrib.postgres.indexes import GinIndex
from django.db import migrations, models
from django.db.models import Q

# Lists are narrowed by these columns, of tables with a million rows. An index of an earlier try,
# which had to wait for a lock, may be there and invalid.
INDEXES = [
    ("credential", GinIndex(fields=["tags"], name="credential_by_tags")),
    ("credential", models.Index(fields=["environment", "id"], name="credential_by_environment")),
    (
        "credential",
        models.Index(
            fields=["expires_at"],
            condition=Q(expires_at__isnull=False),
            name="credential_by_expiry",
        ),
    ),
    (
        "credential",
        models.Index(
            fields=["id"], condition=Q(revoked_at__isnull=False), name="credential_revoked"
        ),
    ),
    (
        "externalkey",
        models.Index(
            fields=["active_until"],
            include=["credential"],
            condition=Q(active_until__isnull=False),
            name="externalkey_by_end",
        ),
    ),
    ("auditevent", models.Index(fields=["at", "id"], name="auditevent_by_moment")),
    ("auditevent", models.Index(fields=["verb", "at", "id"], name="auditevent_by_verb")),
    ("auditevent", models.Index(fields=["actor", "at", "id"], name="auditevent_by_actor")),
    ("auditevent", models.Index(fields=["target", "at", "id"], name="auditevent_by_name")),
]
STATEMENTS = {
    "credential_by_tags": "revcred_credential USING gin (tags)",
    "credential_by_environment": "revcred_credential (environment, id)",
    "credential_by_expiry": "revcred_credential (expires_at) WHERE expires_at IS NOT NULL",
    "credential_revoked": "revcred_credential (id) WHERE revoked_at IS NOT NULL",
    "externalkey_by_end": (
        "revcred_externalkey (active_until) INCLUDE (credential_id) WHERE active_until IS NOT NULL"
    ),
    "auditevent_by_moment": "revcred_auditevent (at, id)",
    "auditevent_by_verb": "revcred_auditevent (verb, at, id)",
    "auditevent_by_actor": "revcred_auditevent (actor, at, id)",
    "auditevent_by_name": "revcred_auditevent (target, at, id)",
}


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("revcred", "0231_extended_keys")]

    operations = [
        *(
            migrations.RunSQL(
                [
                    f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
                    f"CREATE INDEX CONCURRENTLY {name} ON {rest}",
                ],
                f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
            )
            for name, rest in STATEMENTS.items()
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.AddIndex(model, index) for model, index in INDEXES]
        ),
    ]
