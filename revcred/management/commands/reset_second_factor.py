"""Reset the second factor of a person who has lost it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from revcred.actions import second_factors
from revcred.models import User


class Command(BaseCommand):
    help = (
        "Take the second factor of a person who lost it, also of a superuser, and say so by mail."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="The address this person signs in with.")
        parser.add_argument("--reason", default="Reset on the server", help="It is on record.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(email__iexact=options["email"]).first()
        if user is None:
            message = f"Nobody signs in with {options['email']}."
            raise CommandError(message)
        try:
            second_factors.reset_second_factor(user=user, by=None, reason=options["reason"])
        except second_factors.NoSecondFactor as error:
            message = f"{user} has no second factor."
            raise CommandError(message) from error
        self.stdout.write(f"The second factor of {user} was reset.")
