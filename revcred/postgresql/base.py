"""Django's own backend for PostgreSQL, on connections that know patience."""

from typing import Any

import psycopg
from django.db.backends.postgresql import base

from revcred.postgresql.patience import DeadlineConnection


class _DatabaseModule:
    """psycopg as Django knows it, but for the kind of connection."""

    connect = DeadlineConnection.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class DatabaseWrapper(base.DatabaseWrapper):
    Database = _DatabaseModule()  # type: ignore[assignment]

    def is_usable(self) -> bool:
        """By what the socket says, and not by a round trip before every request."""
        connection: DeadlineConnection | None = self.connection
        return connection is not None and connection.is_sound()
