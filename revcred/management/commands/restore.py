from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from revcred import backups
from revcred.postgresql.owner import as_owner


class Command(BaseCommand):
    help = "Restore a backup into an empty database."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path)

    def handle(self, *args: Any, directory: Path, **options: Any) -> None:
        try:
            with as_owner() as role:
                backups.restore(directory, role)
        except (backups.BackupProblem, OSError) as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write("Restored. Run now: manage.py migrate, verify_usage and verify_audit")
