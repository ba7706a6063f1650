from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate

from revcred.postgresql.migration_locks import (
    LockNotObtainedError,
    migration_timeouts,
    retry_until_locked,
)
from revcred.postgresql.owner import as_owner, grant_runtime_rights


class Command(migrate.Command):
    """Migrates as the role that owns the tables, and gives the application's role its rights."""

    def handle(self, *args: Any, **options: Any) -> None:
        with as_owner() as application, migration_timeouts():

            def migrate_and_grant() -> None:
                super(Command, self).handle(*args, **options)
                if not options["plan"]:
                    grant_runtime_rights(application)

            try:
                retry_until_locked(migrate_and_grant, self.stderr.write)
            except LockNotObtainedError as error:
                raise CommandError(str(error)) from error
