from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.transaction import atomic

from revcred.crypto import CannotUnseal
from revcred.models import SealedCanary, SealedValue

AT_ONCE = 500


class Command(BaseCommand):
    help = "Seal everything again under the newest of FERNET_KEYS. May be stopped and run again."

    def handle(self, *args: Any, **options: Any) -> None:
        last, done, damaged = 0, 0, list[int]()
        while keys := waiting_after(last):
            damaged += seal_again(keys)
            last, done = keys[-1], done + len(keys)
            self.stdout.write(f"{done} sealed again")
        if damaged:
            named = ", ".join(map(str, damaged))
            message = f"No key of the ring opens what is sealed of these external keys: {named}."
            raise CommandError(message)
        for canary in SealedCanary.objects.all():
            canary.save()
        self.stdout.write("Done: the older keys may leave the ring.")


def waiting_after(last: int) -> list[int]:
    later = SealedValue.objects.filter(pk__gt=last).order_by("pk")
    return list(later.values_list("pk", flat=True)[:AT_ONCE])


@atomic
def seal_again(keys: list[int]) -> list[int]:
    """Open these with whichever key of the ring fits, and seal them with the newest.

    Answers which do not open. They stay as they are, and keep no other from being sealed.
    """
    rows = SealedValue.objects.select_for_update().filter(pk__in=keys)
    try:
        SealedValue.objects.bulk_update(rows, ["value", "secret"])
    except CannotUnseal:
        half = len(keys) // 2
        return seal_again(keys[:half]) + seal_again(keys[half:]) if half else keys
    return []
