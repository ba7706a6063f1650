"""Statements that PostgreSQL plans once for many executions.

Planning the statement that attributes a batch takes longer than executing it for a few calls.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from django.db import connection


def fetch_prepared(
    statement: str, arguments: Sequence[Any] | Mapping[str, Any]
) -> Sequence[tuple[Any, ...]]:
    """Execute a statement by its kept plan, and return its rows; empty if it returns none.

    Where PREPARED_STATEMENTS is off, the statement is planned each time.

    Raises:
        django.db.Error: as of Django's own cursor.
    """
    connection.ensure_connection()
    # Not Django's own cursor, which would write the arguments into the statement, escaped.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        if connection.connection.has_old_plans():
            # Statements stay prepared, and are planned again when they are executed.
            cursor.execute("DISCARD PLANS")
        cursor.execute(statement, arguments, prepare=True)
        return cursor.fetchall() if cursor.description else ()
