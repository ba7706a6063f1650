"""Verify the chain of audit events."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from revcred.models import AuditEvent


class Command(BaseCommand):
    help = "Verify the chain of audit events, and name the first event that was changed."

    def handle(self, *args: Any, **options: Any) -> None:
        broken = AuditEvent.objects.first_broken()
        if broken:
            message = (
                f"Event {broken.pk} of {broken.at:%Y-%m-%d %H:%M:%S} is not as it was written."
            )
            raise CommandError(message)
        self.stdout.write(f"The chain is whole: {AuditEvent.objects.count()} events.")
