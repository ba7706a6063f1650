from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from metering.demo.loading import ensure_demo


class Command(BaseCommand):
    """Loads the demo that `make run` shows."""

    help = "Migrate, load the demo data once, and write .run/demo.json: how to sign in and call."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", required=True, help="Such as http://127.0.0.1:8000.")

    def handle(self, *args: Any, url: str, **options: Any) -> None:
        if settings.PRODUCTION:
            message = "Demo data is not loaded in production (PRODUCTION is set)."
            raise CommandError(message)
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write(ensure_demo(url))
