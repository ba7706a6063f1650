"""Sealing and unsealing: the only module that knows how values are encrypted.

Fernet (AES-128-CBC with HMAC-SHA256) through `fernet_fields`, under the keyring FERNET_KEYS: the
newest key seals, every key of the keyring unseals. Fernet has no associated data, so a sealed text
begins with the name of its row and field, and does not open at any other place.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from fernet_fields import EncryptedTextField

PLACE_SEPARATOR = "\0"


class CannotUnseal(Exception):
    """No key of the keyring opens the value, or it was sealed for another place."""


class SealedTextField(EncryptedTextField):  # type: ignore[misc]
    """A text that the database sees only sealed. NULL stays NULL."""

    @property
    def keys(self) -> list[str]:
        # The package would silently fall back to SECRET_KEY.
        if not settings.FERNET_KEYS:
            message = "FERNET_KEYS is empty: nothing can be sealed. Set a random key."
            raise ImproperlyConfigured(message)
        return list(settings.FERNET_KEYS)

    def seal(self, text: str) -> bytes:
        """Return the sealed form of a text, as the database keeps it."""
        token: bytes = self.fernet.encrypt(text.encode())
        return token

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        # bulk_update hands over SQL expressions, whose text the package would seal as the value.
        if hasattr(value, "as_sql"):
            return value
        return super().get_db_prep_save(value, connection)

    def from_db_value(self, value: Any, *args: Any) -> str | None:
        try:
            opened: str | None = super().from_db_value(value, *args)
        except InvalidToken as error:
            raise CannotUnseal from error
        if value is not None and not _is_canonical_token(bytes(value)):
            raise CannotUnseal
        return opened


def _is_canonical_token(token: bytes) -> bool:
    """Return True if the token is exactly what sealing would write."""
    # base64 ignores characters outside its alphabet, so they are not authenticated: a token with
    # something appended would open as well.
    return urlsafe_b64encode(urlsafe_b64decode(token)) == token


def seal_text(text: str, *, to: str) -> str:
    """Seal a text for a column that is no SealedTextField, such as one of another package."""
    return SealedTextField().seal(bind_to_place(text, to=to)).decode()


def unseal_text(sealed: str, *, to: str) -> str:
    """Open what `seal_text` sealed for this place. Raises CannotUnseal."""
    try:
        bound: bytes = SealedTextField().fernet.decrypt(sealed.encode())
    except InvalidToken as error:
        raise CannotUnseal from error
    return unbind_from_place(bound.decode(), to=to)


def bind_to_place(text: str, *, to: str) -> str:
    """Return the text preceded by the place it belongs to: what gets sealed."""
    return f"{to}{PLACE_SEPARATOR}{text}"


def unbind_from_place(bound: str, *, to: str) -> str:
    """Return the text, if it was bound to this place. Raises CannotUnseal if it was not."""
    # The first NUL separates: places contain none, texts may.
    place, _, text = bound.partition(PLACE_SEPARATOR)
    if place != to:
        raise CannotUnseal
    return text
