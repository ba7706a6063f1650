"""Whether the database is newer than this code, as it is while an installation is upgraded.

Code that does not know the newest migrations may judge calls by rules that have changed, or fail on
tables that were renamed. It waits instead, and `/readyz` says so.
"""

import logging
import pkgutil
import tomllib
from functools import cache

from cachetools import TTLCache, cached
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader

logger = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 5.0
OUR_APPS = ("metering", "revcred")


def unknown_migrations() -> list[str]:
    """Return the migrations of ours that the database has and this code does not, by name."""
    applied = {migration for migration in _applied_migrations() if migration[0] in OUR_APPS}
    return sorted(f"{app}.{name}" for app, name in applied - _our_migrations())


def pending_migrations() -> list[str]:
    """Return the newest migration of each app that the database lacks, by name."""
    return sorted(f"{app}.{name}" for app, name in _newest_migrations() - _applied_migrations())


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
def code_version() -> str:
    """Return what tells this code from other code: its release and its newest migrations."""
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]
    newest = dict(sorted(_our_migrations()))
    return " · ".join([project["version"], *(f"{app}.{name}" for app, name in newest.items())])


def _applied_migrations() -> set[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        return set(cursor.fetchall())


@cache
def _newest_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


@cache
def _our_migrations() -> frozenset[tuple[str, str]]:
    # By the names of the files: Django's loader would import all of them, in each new process.
    return frozenset(
        (app, module.name)
        for app in OUR_APPS
        for module in pkgutil.iter_modules([str(settings.BASE_DIR / app / "migrations")])
    )
