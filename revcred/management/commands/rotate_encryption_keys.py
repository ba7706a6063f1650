"""Seal everything again under the newest encryption key, so that older ones can be removed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Model
from django.db.transaction import atomic

from revcred.accounts import second_factor
from revcred.crypto import CannotUnseal
from revcred.models import (
    CompanySignIn,
    KeyringCheck,
    OutgoingMail,
    PendingErasure,
    SealedValue,
    SigningKey,
    UploadChange,
)

RESEALED_PER_TRANSACTION = 500  # rows

SealedModel = type[Model]


class Sealed(NamedTuple):
    """Fields of a model that are sealed, and what they are called where they do not open."""

    fields: Sequence[str]
    called: str


# In this order they are sealed again.
SEALED: dict[SealedModel, Sealed] = {
    SealedValue: Sealed(("value", "secret"), "the values of these external keys"),
    UploadChange: Sealed(("secret",), "the secrets of these upload changes"),
    OutgoingMail: Sealed(("body",), "the texts of these mails"),
    PendingErasure: Sealed(("texts",), "the texts of these erasures"),
    SigningKey: Sealed(("private",), "these signing keys"),
    CompanySignIn: Sealed(("client_secret",), "the secrets of these company sign-ins"),
}


class Command(BaseCommand):
    help = (
        "Seal everything again under the newest of FERNET_KEYS. You can stop it and run it again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for model, sealed in SEALED.items():
            if damaged := self._reseal_all(model):
                message = f"No key of FERNET_KEYS opens {sealed.called}: {damaged}."
                raise CommandError(message)
        if damaged := self._reseal_second_factors():
            message = f"No key of FERNET_KEYS opens the second factors of these users: {damaged}."
            raise CommandError(message)
        # Last: the keyring check says that everything opens with the newest key.
        for keyring_check in KeyringCheck.objects.all():
            keyring_check.save()
        self.stdout.write("Done. You can remove the older keys from FERNET_KEYS.")

    def _reseal_all(self, model: SealedModel) -> str:
        """Reseal all rows of the model. Return the numbers of those that do not open."""
        last, done, damaged = 0, 0, list[int]()
        while numbers := next_sealed_ids(model, last):
            damaged += reseal_rows(model, numbers)
            last, done = numbers[-1], done + len(numbers)
            self.stdout.write(f"{done} sealed again")
        return ", ".join(map(str, damaged))

    def _reseal_second_factors(self) -> str:
        """Reseal the secrets of one-time and recovery codes, which are in allauth's table.

        Return the numbers of users whose secrets do not open.
        """
        damaged = list[int]()
        for authenticator in Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN):
            try:
                second_factor.reseal_authenticator(authenticator)
            except CannotUnseal:
                damaged.append(authenticator.user_id)
        return ", ".join(map(str, damaged))


def next_sealed_ids(model: SealedModel, last: int) -> list[int]:
    """Return the next primary keys after `last` of rows with something sealed."""
    sealed = model._base_manager.filter(pk__gt=last)
    if model is UploadChange:  # few of them replace a secret
        sealed = sealed.filter(secret__isnull=False)
    if model is OutgoingMail:  # few of them still wait
        sealed = sealed.filter(body__isnull=False)
    return list(sealed.order_by("pk").values_list("pk", flat=True)[:RESEALED_PER_TRANSACTION])


@atomic
def reseal_rows(model: SealedModel, numbers: list[int]) -> list[int]:
    """Open these rows with any key of the keyring, and seal them with the newest.

    Return the numbers of rows that do not open. They stay as they are; the others are resealed.
    """
    rows = model._base_manager.select_for_update().filter(pk__in=numbers)
    try:
        model._base_manager.bulk_update(rows, SEALED[model].fields)
    except CannotUnseal:
        # One bad row fails the whole update: halve the rows until the bad ones stand alone.
        half = len(numbers) // 2
        if not half:
            return numbers
        return reseal_rows(model, numbers[:half]) + reseal_rows(model, numbers[half:])
    return []
