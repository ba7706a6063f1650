"""Quick emptying of the test database between tests that commit.

Django truncates every table and then writes content types and rights anew: 0.8 s for our 400
tables and indexes, where most tests take 0.1 s. Here only tables that hold rows are deleted from,
and what is the same in every test stays.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management.commands import flush
from django.db.backends.postgresql.operations import DatabaseOperations

from revcred import roles

# Written once by `migrate`, and the same in every test.
KEPT_TABLES = {
    *("django_content_type", "auth_permission"),
    *("auth_group", "auth_group_permissions"),  # ready-made roles; others are deleted below
}

DELETE_ALL_ROWS = """
DO $$
DECLARE
    table_name text;
    has_rows boolean;
BEGIN
    -- Neither foreign keys nor the triggers of what is only added to stand in the way.
    SET LOCAL session_replication_role = replica;
    FOREACH table_name IN ARRAY ARRAY[{tables}] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', table_name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('DELETE FROM %I', table_name);
        END IF;
    END LOOP;
    DELETE FROM auth_group WHERE name <> ALL (ARRAY[{roles}]);
    DELETE FROM auth_group_permissions WHERE group_id NOT IN (SELECT id FROM auth_group);
END $$;
"""


def _sql_flush(
    self: DatabaseOperations, style: Any, tables: list[str], **options: Any
) -> list[str]:
    names = ", ".join(f"'{name}'" for name in sorted({*tables} - KEPT_TABLES))
    ready_made = ", ".join(f"'{role.name}'" for role in roles.READY_MADE_ROLES)
    # The application's role may neither do this nor delete from the audit.
    return ["SET LOCAL ROLE NONE", DELETE_ALL_ROWS.format(tables=names, roles=ready_made)]


@contextmanager
def quick_flush() -> Iterator[None]:
    """Replace the statements of Django's flush, and what it sends afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", _sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_, **__: None)
        yield
