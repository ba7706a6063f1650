"""What decides how this installation behaves: settings of the environment, versions and sizes.

Read only: the environment decides. Keys and passwords are never among it.
"""

import platform
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import django
from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.models import BinaryField
from django.db.models.functions import Cast
from django.utils.translation import gettext, gettext_noop
from kombu.exceptions import OperationalError

from revcred import backups
from revcred.models import KeyringCheck
from revcred.runtime import preflight, schema_version

MAX_TABLES_SHOWN = 20
MAX_DAYS_SHOWN = 14
REDIS_SECONDS = 1  # that a page waits for its answer

# By what people look for. Each is a number, a text or a switch; none is a secret.
SETTINGS_BY_TOPIC: dict[str, tuple[str, ...]] = {
    gettext_noop("What calls are accepted"): (
        "OLDEST_TRANSACTION_DAYS",
        "NEWEST_TRANSACTION_MINUTES",
        "PAIRING_TIMEOUT_SECONDS",
        "STRICT_NAMES",
        "AUTO_PROVISION",
        "MAX_BACKLOG_PER_GATEWAY",
        "MAX_BACKLOG",
        "FAIR_SHARE_ABOVE",
    ),
    gettext_noop("How long things are kept"): (
        "LEDGER_DAYS",
        "SEEN_TRANSACTION_DAYS",
        "UNKNOWN_KEY_DAYS",
        "MAX_UNKNOWN_KEYS_PER_GATEWAY",
        "DISCOVERED_SOURCE_DAYS",
        "SENT_MAIL_DAYS",
        "UPLOAD_UNDO_DAYS",
        "MAX_CONFLICTS",
        "MAX_FINISHED_CLAIMS",
        "MAX_SESSIONS",
    ),
    gettext_noop("Uploads"): (
        "UPLOAD_BYTES_PER_USER",
        "UPLOAD_BYTES",
        "UPLOAD_FREE_PERCENT",
        "UPLOAD_SECONDS",
    ),
    gettext_noop("Signing in and revealing"): (
        "STAFF_SECOND_FACTOR",
        "SIGN_IN_FAILURES",
        "SIGN_IN_FAILURE_SECONDS",
        "SIGN_IN_FAILURES_PER_ACCOUNT",
        "STAFF_SESSION_IDLE_SECONDS",
        "STAFF_SESSION_SECONDS",
        "SUBSCRIBER_SESSION_IDLE_SECONDS",
        "SUBSCRIBER_SESSION_SECONDS",
        "REVEAL_LIMIT_KEYS",
        "REVEAL_LIMIT_MINUTES",
    ),
    gettext_noop("Mail"): (
        "DEFAULT_FROM_EMAIL",
        "EMAIL_HOST",
        "EMAIL_PORT",
        "EMAIL_USE_TLS",
        "EMAIL_TIMEOUT",
    ),
    gettext_noop("Processes"): (
        "ENVIRONMENT",
        "PUBLIC_URL",
        "PROGRAM_THREADS",
        "PAGE_THREADS",
        "UPLOAD_THREADS",
    ),
}

# in: tables and partitions of ours; out: each table with its size, partitions included.
MEASURE_TABLES = """
SELECT coalesce(parent.relname, part.relname), sum(pg_total_relation_size(part.oid)), count(*)
FROM pg_class part
LEFT JOIN pg_inherits ON inhrelid = part.oid
LEFT JOIN pg_class parent ON parent.oid = inhparent
WHERE part.relkind = 'r' AND part.relnamespace = 'public'::regnamespace
GROUP BY 1 ORDER BY 2 DESC LIMIT %s
"""
# in: partitions of a table, named by their days; out: the latest of them with their sizes.
MEASURE_DAYS = """
SELECT part.relname, pg_total_relation_size(part.oid)
FROM pg_inherits JOIN pg_class part ON part.oid = inhrelid
WHERE inhparent = to_regclass(%s)
ORDER BY part.relname DESC LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class TableSize:
    """A table on disk with its indexes, in bytes; `partitions` is 1 for a table without any."""

    name: str
    size: int
    partitions: int = 1


def describe_installation() -> dict[str, Any]:
    """Return all that the page of settings shows."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (postgresql,) = cursor.fetchone()
        cursor.execute(MEASURE_TABLES, [MAX_TABLES_SHOWN])
        tables = [
            TableSize(name=name, size=int(size), partitions=count)
            for name, size, count in cursor.fetchall()
        ]
        # The largest of those with partitions: the others are small beside it.
        by_day = next((table.name for table in tables if table.partitions > 1), "")
        cursor.execute(MEASURE_DAYS, [by_day, MAX_DAYS_SHOWN])
        days = [TableSize(name=name, size=size) for name, size in cursor.fetchall()]
    return {
        "topics": {
            gettext(topic): [(name, getattr(settings, name)) for name in names]
            for topic, names in SETTINGS_BY_TOPIC.items()
        },
        "versions": {
            "revcred": schema_version.code_version(),
            "Python": platform.python_version(),
            "Django": django.get_version(),
            "PostgreSQL": postgresql,
            gettext("Migrations to apply"): ", ".join(schema_version.pending_migrations())
            or gettext("none"),
        },
        "keys": {
            gettext("Encryption keys"): gettext("%(count)s: the first one seals, all unseal")
            % {"count": len(settings.FERNET_KEYS)},
            gettext("Keyring in use since at least"): _keyring_made_at(),
            gettext("Key of fingerprints"): gettext("is being exchanged")
            if settings.OLD_FINGERPRINT_KEY
            else gettext("one"),
            gettext("Last backup by manage.py backup"): backups.last_backup_at()
            or gettext("never"),
        },
        "does_redis_answer": _does_redis_answer(),
        "weaknesses": preflight.find_weaknesses(),
        "tables": tables,
        "days": days,
    }


def _keyring_made_at() -> datetime | None:
    """Return when the check of the keyring was sealed: its first bytes say so in clear."""
    # As the database has it: the field itself would unseal it.
    raw = KeyringCheck._base_manager.annotate(raw=Cast("text", BinaryField()))
    sealed = raw.values_list("raw", flat=True).first()
    if sealed is None:
        return None
    # A Fernet token: its version in a byte, then the second in eight.
    stamp = urlsafe_b64decode(bytes(sealed))[1:9]
    return datetime.fromtimestamp(int.from_bytes(stamp, "big"), UTC)


def _does_redis_answer() -> bool:
    """Return True if the bell can be rung. Attribution goes on without it, a second later."""
    try:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=REDIS_SECONDS)
    except OperationalError:
        return False
    return True
