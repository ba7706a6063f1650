"""The role that owns the tables, and what it allows the application's role to do.

Two roles keep what a flaw in the application can do small: the role of DATABASE_URL reads and
writes rows, and cannot change tables, triggers or the audit. That of MIGRATION_DATABASE_URL can.
Where one URL names both, everything is done by that one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import ProgrammingError, connection
from django.db.transaction import atomic
from psycopg import sql
from psycopg.errors import DuplicateObject

CREDENTIAL_SETTINGS = ("USER", "PASSWORD", "HOST", "PORT")
GRANT_LOCK_NUMBER = 0x6EA27  # advisory: two `migrate` at once would change the same rows

# Rows are only added here, whatever else the application does.
APPEND_ONLY_TABLES = ("revcred_auditevent",)
READ_ONLY_TABLES = ("django_migrations",)

# in: tables, sequences and functions of ours; out: the kind that GRANT names, and the name.
# Partitions are reached through their table, and need no rights of their own.
FIND_OWN_OBJECTS = """
SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S') AND NOT relispartition
    AND pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT 'FUNCTION', oid::regprocedure::text
FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prosecdef AND pg_has_role(proowner, 'USAGE')
"""
# Of uploads that were in progress when the application still owned all tables.
FIND_STAGING_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace IN ('public'::regnamespace, %s::regnamespace) AND relkind = 'r'
    AND relname ~ '^revcred_uploadrow_[0-9]+(_incoming)?$' AND relowner <> %s::regrole
"""
RIGHTS_BY_KIND = {
    "TABLE": "SELECT, INSERT, UPDATE, DELETE",
    "SEQUENCE": "USAGE, SELECT",
    "FUNCTION": "EXECUTE",
}


@dataclass(frozen=True)
class RuntimeRole:
    """The role that the application works with."""

    name: str
    password: str


@contextmanager
def as_owner() -> Iterator[RuntimeRole]:
    """Connect as the role that owns the tables inside the block, and give the application's role.

    Not within a transaction, because it connects anew. Where the application's role is the owner,
    nothing changes.
    """
    current = connection.settings_dict
    application = _credentials_in(current)
    owner = _credentials_in(settings.MIGRATION_DATABASE)
    # What a login may become (Django's option `assume_role`) is the role that counts.
    role = current["OPTIONS"].get("assume_role") or current["USER"]
    yielded = RuntimeRole(role, current["PASSWORD"])
    if owner == application:
        yield yielded
        return
    options = current["OPTIONS"]
    connection.close()
    _set_credentials(owner)
    # The application creates what it likes in the other schema, also operators that would fit
    # better than PostgreSQL's own: the owner would run them with its rights. The last value counts.
    owner_options = f"{options.get('options', '')} -c search_path=public"
    current["OPTIONS"] = current["OPTIONS"] | {"options": owner_options.strip()}
    try:
        yield yielded
    finally:
        connection.close()
        current["OPTIONS"] = options
        _set_credentials(application)


def _credentials_in(database: Mapping[str, Any]) -> dict[str, Any]:
    assumed = database.get("OPTIONS", {}).get("assume_role")
    return {name: database[name] for name in CREDENTIAL_SETTINGS} | {"assume_role": assumed}


def _set_credentials(credentials: Mapping[str, Any]) -> None:
    current = connection.settings_dict
    current.update({name: credentials[name] for name in CREDENTIAL_SETTINGS})
    current["OPTIONS"] = current["OPTIONS"] | {"assume_role": credentials["assume_role"]}


@atomic
def grant_runtime_rights(application: RuntimeRole) -> None:
    """Create the application's role if it is missing, and give it its rights, as the owner.

    Does nothing where it is the owner itself.
    """
    name = application.name
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s), current_user", [GRANT_LOCK_NUMBER])
        if cursor.fetchone()[1] == name:
            return
        _create_role(application)
        role = sql.Identifier(name)
        cursor.execute(FIND_OWN_OBJECTS)
        for kind, found in cursor.fetchall():
            _execute("GRANT {} ON {} {} TO {}", RIGHTS_BY_KIND[kind], kind, found, role)
        for table in APPEND_ONLY_TABLES:
            _execute("REVOKE UPDATE, DELETE, TRUNCATE ON {} FROM {}", table, role)
        for table in READ_ONLY_TABLES:
            _execute("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}", table, role)
        cursor.execute("SELECT to_regnamespace(%s)", [settings.STAGING_SCHEMA])
        if cursor.fetchone()[0] is None:
            return  # migrated to a state before there was this schema
        _execute("GRANT USAGE, CREATE ON SCHEMA {} TO {}", settings.STAGING_SCHEMA, role)
        cursor.execute(FIND_STAGING_TABLES, [settings.STAGING_SCHEMA, name])
        for (table,) in cursor.fetchall():
            _execute("ALTER TABLE {} OWNER TO {}", table, role)
            if "." not in table:
                _execute("ALTER TABLE {} SET SCHEMA {}", table, settings.STAGING_SCHEMA)


def _create_role(application: RuntimeRole) -> None:
    name, password = application.name, application.password
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [name])
        if cursor.fetchone():
            return
        # Hashed here, because statements may be logged.
        connection_of_psycopg = connection.connection
        hashed = (
            connection_of_psycopg.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            ).decode()
            if password
            else None
        )
        try:
            with atomic():
                _execute(
                    "CREATE ROLE {} LOGIN PASSWORD {}", sql.Identifier(name), sql.Literal(hashed)
                )
        except ProgrammingError as error:
            # Roles belong to all databases of a server: another one's `migrate` was quicker.
            if not isinstance(error.__cause__, DuplicateObject):
                raise


def _execute(statement: str, *parts: "str | sql.Composable") -> None:
    """Execute a statement of names that are ours or PostgreSQL's own, already quoted."""
    composed = sql.SQL(statement).format(
        *(sql.SQL(part) if isinstance(part, str) else part for part in parts)
    )
    with connection.cursor() as cursor:
        cursor.execute(composed)
