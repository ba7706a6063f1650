from collections.abc import Sequence
from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Model
from django.db.transaction import atomic

from revcred.accounts import second_factor
from revcred.crypto import CannotUnseal
from revcred.models import OutgoingMail, SealedCanary, SealedValue, UploadChange

RESEALED_PER_TRANSACTION = 500

SealedModel = type[Model]
SEALED_FIELDS: dict[SealedModel, Sequence[str]] = {
    SealedValue: ("value", "secret"),
    UploadChange: ("secret",),
    OutgoingMail: ("body",),
}


class Command(BaseCommand):
    help = "Seal everything again under the newest of FERNET_KEYS. May be stopped and run again."

    def handle(self, *args: Any, **options: Any) -> None:
        if damaged := self._seal_all(SealedValue):
            message = f"No key of the ring opens what is sealed of these external keys: {damaged}."
            raise CommandError(message)
        if damaged := self._seal_all(UploadChange):
            message = f"No key of the ring opens what these changes of uploads replaced: {damaged}."
            raise CommandError(message)
        if damaged := self._seal_all(OutgoingMail):
            message = f"No key of the ring opens what is sealed of these mails: {damaged}."
            raise CommandError(message)
        if damaged := self._seal_second_factors():
            message = f"No key of the ring opens the second factors of these users: {damaged}."
            raise CommandError(message)
        for canary in SealedCanary.objects.all():
            canary.save()
        self.stdout.write("Done: the older keys may leave the ring.")

    def _seal_all(self, model: SealedModel) -> str:
        """The numbers of those that do not open."""
        last, done, damaged = 0, 0, list[int]()
        while numbers := next_sealed_ids(model, last):
            damaged += reseal_rows(model, numbers)
            last, done = numbers[-1], done + len(numbers)
            self.stdout.write(f"{done} sealed again")
        return ", ".join(map(str, damaged))

    def _seal_second_factors(self) -> str:
        """Seal what codes are made from, which lies in another package's table."""
        damaged = list[int]()
        for authenticator in Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN):
            try:
                second_factor.reseal_authenticator(authenticator)
            except CannotUnseal:
                damaged.append(authenticator.user_id)
        return ", ".join(map(str, damaged))


def next_sealed_ids(model: SealedModel, last: int) -> list[int]:
    sealed = model._base_manager.filter(pk__gt=last)
    if model is UploadChange:  # few of them replace a secret
        sealed = sealed.filter(secret__isnull=False)
    if model is OutgoingMail:  # few of them still wait
        sealed = sealed.filter(body__isnull=False)
    return list(sealed.order_by("pk").values_list("pk", flat=True)[:RESEALED_PER_TRANSACTION])


@atomic
def reseal_rows(model: SealedModel, numbers: list[int]) -> list[int]:
    """Open these with whichever key of the ring fits, and seal them with the newest.

    Answers which do not open. They stay as they are, and keep no other from being sealed.
    """
    rows = model._base_manager.select_for_update().filter(pk__in=numbers)
    try:
        model._base_manager.bulk_update(rows, SEALED_FIELDS[model])
    except CannotUnseal:
        half = len(numbers) // 2
        if not half:
            return numbers
        return reseal_rows(model, numbers[:half]) + reseal_rows(model, numbers[half:])
    return []
