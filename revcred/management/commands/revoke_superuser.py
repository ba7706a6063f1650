"""Take superuser and staff status from a login."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.transaction import atomic

from revcred.actions.token_revocation import revoke_all_tokens
from revcred.models import AuditEvent, AuditVerb, User
from revcred.models.sessions import end_all_sessions


class Command(BaseCommand):
    """A command for what no page does: superusers cannot take rights from each other."""

    help = "Take superuser and staff status from a login, and sign it out everywhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", help="The address the superuser signs in with.")

    @atomic
    def handle(self, *args: Any, address: str, **options: Any) -> None:
        users = User.objects.select_for_update(no_key=True)
        user = users.filter(email__iexact=address, is_superuser=True).first()
        if user is None:
            message = f"No superuser signs in as {address}."
            raise CommandError(message)
        users.filter(pk=user.pk).update(
            is_superuser=False,
            is_staff=False,
        )
        end_all_sessions(user)
        details = {"superuser": "yes → no", "staff": "yes → no"}
        verb = AuditVerb.RIGHTS_CHANGED
        AuditEvent.objects.record(verb, target=user, by=None, details=details)
        revoke_all_tokens(user=user, by=None, because="your login is no longer one of the staff")
        self.stdout.write(f"{user} is no superuser and no staff any more, and is signed out.")
