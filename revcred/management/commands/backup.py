from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from revcred import backups
from revcred.postgresql.owner import as_owner


class Command(BaseCommand):
    help = "Write a backup of the database into a directory, without keys and sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path)

    def handle(self, *args: Any, directory: Path, **options: Any) -> None:
        try:
            with as_owner():
                backups.back_up(directory)
        except backups.BackupProblem as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(f"The backup is in {directory}. The keys it needs are not: keep them.")
