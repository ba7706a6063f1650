"""What only the owner of the tables may do, in tests: the application's role may not."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.backends.utils import CursorWrapper


@contextmanager
def owner_cursor() -> Iterator[CursorWrapper]:
    """Give a cursor of the tests' own connection, in the same transaction, with all rights."""
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")
        try:
            yield cursor
        finally:
            if role and not connection.needs_rollback:
                cursor.execute(f"SET ROLE {connection.ops.quote_name(role)}")


def record_migration(app: str, name: str) -> None:
    """Have the database say that it has this migration."""
    with owner_cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, now())", [app, name]
        )


def forget_migration(app: str, name: str) -> None:
    with owner_cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = %s AND name = %s", [app, name])
