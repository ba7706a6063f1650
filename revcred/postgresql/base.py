"""Django's backend for PostgreSQL, with connections that keep deadlines."""

from typing import Any

import psycopg
from django.db.backends.postgresql import base

from revcred.postgresql.deadlines import DeadlineConnection


class _DatabaseModule:
    """The module psycopg with another class of connections, as Django's backend expects it."""

    connect = DeadlineConnection.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(base.DatabaseWrapper):
    Database = _DatabaseModule()  # type: ignore[assignment]

    def is_usable(self) -> bool:
        """Return True if the socket looks healthy. Django's own test costs a round trip."""
        connection: DeadlineConnection | None = self.connection
        return connection is not None and connection.is_healthy()
