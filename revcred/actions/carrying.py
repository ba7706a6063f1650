"""Keys and secrets on their way from one page of a form to the next, sealed meanwhile."""

from cryptography.fernet import InvalidToken

from revcred.crypto import CannotUnseal, SealedTextField, bind_to_place, unbind_from_place
from revcred.models import User

CARRIED_VALUE_SECONDS = 60 * 60


class InvalidCarriedValue(Exception):
    """It was sealed for somebody else, for another page, or too long ago."""


def seal_for_page(*, text: str, user: User, page: str) -> str:
    """Seal text that only `unseal_for_page` reads again, for the same user and page (address)."""
    return SealedTextField().seal(bind_to_place(text, to=_page_binding(user, page))).decode()


def unseal_for_page(*, sealed: str, user: User, page: str) -> str:
    """Raises InvalidCarriedValue."""
    try:
        bound = SealedTextField().fernet.decrypt(sealed.encode(), ttl=CARRIED_VALUE_SECONDS)
        return unbind_from_place(bound.decode(), to=_page_binding(user, page))
    except (InvalidToken, CannotUnseal) as error:
        raise InvalidCarriedValue from error


def _page_binding(user: User, page: str) -> str:
    return f"carried for {user.pk} to {page}"
