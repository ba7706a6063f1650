"""Keys and secrets that a confirmation page carries from one form to the next.

They are sealed for one user and one page meanwhile, so that no hidden field shows them.
"""

from cryptography.fernet import InvalidToken

from revcred.crypto import CannotUnseal, SealedTextField, bind_to_place, unbind_from_place
from revcred.models import User

# As long as a confirmation counts: see `revcred.admin_toolkit.confirmation`.
CARRIED_VALUE_SECONDS = 60 * 60


class InvalidCarriedValue(Exception):
    """The value was sealed for another user or page, or too long ago."""


def seal_for_page(*, text: str, user: User, page: str) -> str:
    """Seal the text so that only `unseal_for_page` with the same user and page opens it.

    `page`: the path of the form that the text was typed into.
    """
    return SealedTextField().seal(bind_to_place(text, to=_page_binding(user, page))).decode()


def unseal_for_page(*, sealed: str, user: User, page: str) -> str:
    """Return the text that `seal_for_page` sealed. Raises InvalidCarriedValue."""
    try:
        bound = SealedTextField().fernet.decrypt(sealed.encode(), ttl=CARRIED_VALUE_SECONDS)
        return unbind_from_place(bound.decode(), to=_page_binding(user, page))
    except (InvalidToken, CannotUnseal) as error:
        raise InvalidCarriedValue from error


def _page_binding(user: User, page: str) -> str:
    return f"carried for {user.pk} to {page}"
