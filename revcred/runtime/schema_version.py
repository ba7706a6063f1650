"""Whether the database is newer than this code, as it is while an installation is upgraded.

Code that does not know the newest migrations may judge calls by rules that have changed, or fail on
tables that were renamed. It waits instead, and `/readyz` says so.
"""

import logging
from functools import cache

from cachetools import TTLCache, cached
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

logger = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 5.0
OUR_APPS = ("revcred", "metering", "storefront")


def unknown_migrations() -> list[str]:
    """Return the migrations of ours that the database has and this code does not, by name."""
    applied = MigrationRecorder(connection).applied_migrations()
    unknown = {name for name in applied if name[0] in OUR_APPS} - _known_migrations()
    return sorted(f"{app}.{name}" for app, name in unknown)


@cached(TTLCache(1, CHECK_INTERVAL_SECONDS))
def is_older_than_database() -> bool:
    """Return True if this process has to wait; asks once in CHECK_INTERVAL_SECONDS."""
    if unknown := unknown_migrations():
        logger.warning(
            "The database has migrations that this code does not know: %s. Waiting for a process"
            " with newer code.",
            ", ".join(unknown),
        )
    return bool(unknown)


@cache
def _known_migrations() -> frozenset[tuple[str, str]]:
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    return frozenset(loader.disk_migrations)
