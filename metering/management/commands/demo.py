from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from metering.demo.loading import ensure_demo


class Command(BaseCommand):
    help = "Migrate, load the demo data once, and note in .run/demo.json how to use it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", required=True, help="Such as http://127.0.0.1:8000.")

    def handle(self, *args: Any, url: str, **options: Any) -> None:
        if settings.PRODUCTION:
            message = "This is production: demo data has no place here."
            raise CommandError(message)
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write(ensure_demo(url))
