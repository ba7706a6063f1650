"""Exchange the key that signs claims for backends."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from revcred.signing import rotate_keys


class Command(BaseCommand):
    help = (
        "Exchange the key that signs claims for backends. The new key is published at once and"
        " signs ten minutes later; the old one stays published until then, and ten minutes longer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--now",
            action="store_true",
            help="Sign with the new key from now on, and withdraw all others: for when somebody"
            " else may have one. Backends that keep the published keys may refuse calls until they"
            " ask for them again.",
        )

    def handle(self, *args: Any, now: bool, **options: Any) -> None:
        key = rotate_keys(timezone.now(), at_once=now)
        self.stdout.write(f"Key {key.key_id} signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC on.")
