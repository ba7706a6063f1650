from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection

from metering.api.revenium.labels import NEVER_KEPT_LABELS
from metering.scrubbing import FindingCounts, KeyScrub, find_keys_elsewhere
from revcred.postgresql.owner import as_owner

NOTHING_FOUND_MESSAGE = "Nothing was found."


class Command(BaseCommand):
    """Finds secrets in what is stored, and cuts them out with --apply."""

    help = (
        "Find keys, secrets, tokens and whole addresses in stored calls and events, and count"
        " them. With --apply, cut them to their last four characters and record it in the audit."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--apply", action="store_true", help="Cut them out.")
        parser.add_argument(
            "--prompts",
            action="store_true",
            help="Also leave out metadata in which prompts and answers of models were kept.",
        )

    def handle(self, *args: Any, apply: bool, prompts: bool, **options: Any) -> None:
        # Only the owner may change what the audit says.
        with as_owner():
            self._scrub(apply=apply, prompts=prompts)

    def _scrub(self, *, apply: bool, prompts: bool) -> None:
        # It reads whole tables, which takes longer than any statement of a page may.
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
        named = NEVER_KEPT_LABELS if prompts else frozenset()
        found = KeyScrub(apply=apply, prompts=named, say=self.stderr.write).run()
        self._tell(found)
        if found:
            self.stdout.write("They are cut out." if apply else "Nothing is changed: use --apply.")
        if left := find_keys_elsewhere():
            self.stdout.write("")
            self.stdout.write("Left where they are, for a person to rename or remove:")
            self._tell(left)

    def _tell(self, found: FindingCounts) -> None:
        for (place, what), count in sorted(found.items()):
            self.stdout.write(f"{place:32} {what:30} {count:>10,}")
        if not found:
            self.stdout.write(NOTHING_FOUND_MESSAGE)
