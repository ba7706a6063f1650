"""Keys and secrets on their way from one page of a form to the next, sealed meanwhile."""

from cryptography.fernet import InvalidToken

from revcred.crypto import CannotUnseal, SealedTextField, bind, unbind
from revcred.models import User

CARRIED_FOR_SECONDS = 60 * 60


class NotCarried(Exception):
    """It was sealed for somebody else, for another page, or too long ago."""


def seal(*, text: str, user: User, page: str) -> str:
    """The text, readable again only by `unseal` for the same user and page (its address)."""
    return SealedTextField().seal(bind(text, to=_place(user, page))).decode()


def unseal(*, sealed: str, user: User, page: str) -> str:
    """Raises NotCarried."""
    try:
        bound = SealedTextField().fernet.decrypt(sealed.encode(), ttl=CARRIED_FOR_SECONDS)
        return unbind(bound.decode(), to=_place(user, page))
    except (InvalidToken, CannotUnseal) as error:
        raise NotCarried from error


def _place(user: User, page: str) -> str:
    return f"carried for {user.pk} to {page}"
