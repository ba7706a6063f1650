from typing import Any

from django.core.management.commands import migrate

from revcred.postgresql.owner import as_owner, grant_runtime_rights


class Command(migrate.Command):
    """Migrates as the role that owns the tables, and gives the application's role its rights."""

    def handle(self, *args: Any, **options: Any) -> None:
        with as_owner() as application:
            super().handle(*args, **options)
            if not options["plan"]:
                grant_runtime_rights(application)
