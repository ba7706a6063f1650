"""Verify the chain of audit events."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from revcred.models import AuditEvent
from revcred.models.audit import AuditHead


class Command(BaseCommand):
    help = "Verify the chain of audit events, and name the first event that was changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--anchor",
            metavar="HEAD",
            help="A head that was noted earlier, such as 1234:9f…: the chain has to contain it.",
        )

    def handle(self, *args: Any, anchor: str | None, **options: Any) -> None:
        events = AuditEvent.objects.all()
        noted = _parse_head(anchor) if anchor else None
        if broken := events.first_broken():
            message = (
                f"Event {broken.pk} of {broken.at:%Y-%m-%d %H:%M:%S} is not as it was written."
            )
            raise CommandError(message)
        head = events.head()
        if noted and not events.has_head(noted):
            message = (
                f"The chain does not contain the head {noted}: events were removed or rewritten."
                f" Now it has {head.events} events."
            )
            raise CommandError(message)
        self.stdout.write(f"The chain is whole: {head.events} events.")
        self.stdout.write(f"Its head is {head}. Keep it elsewhere, and give it as --anchor.")


def _parse_head(text: str) -> AuditHead:
    events, _, digest = text.strip().partition(":")
    if not events.isdecimal() or not digest:
        message = "--anchor has to be a head as the log and this command say it: NUMBER:DIGEST."
        raise CommandError(message)
    return AuditHead(int(events), digest)
