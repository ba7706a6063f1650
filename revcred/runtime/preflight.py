"""What must be true before a process serves: asked once at its start, and by /readyz."""

from contextlib import suppress

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError, connection

from revcred.crypto import CannotUnseal
from revcred.models import SealedCanary

DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
PLACEHOLDER = "change-me"


def check() -> None:
    """Raises ImproperlyConfigured with what to do, or OperationalError without a database."""
    _check_settings()
    _check_keys()
    if settings.PRODUCTION:
        _check_durability()


def check_at_start() -> None:
    """As `check`, but a database that is away is no reason not to start: pages answer 503 then."""
    with suppress(OperationalError):
        check()


def _check_settings() -> None:
    if not settings.FERNET_KEYS:
        _refuse("FERNET_KEYS is empty: there is nothing to seal keys and secrets with.")
    if not all(each.strip() for each in settings.FERNET_KEYS):
        _refuse("FERNET_KEYS holds an empty key, with which anybody could unseal.")
    if not settings.FINGERPRINT_KEY.strip():
        _refuse("FINGERPRINT_KEY is empty: anybody could tell whether a key is known.")
    if settings.SECRET_KEY in settings.FERNET_KEYS:
        _refuse("FERNET_KEYS holds SECRET_KEY. The two rotate apart: choose another.")
    if settings.STAFF_SECOND_FACTOR not in ("required", "optional"):
        _refuse("STAFF_SECOND_FACTOR has to be required or optional.")
    if not settings.PRODUCTION:
        return
    if settings.DEBUG:
        _refuse("DEBUG is on in production, and would show what must not be seen.")
    for name in ("SECRET_KEY", "FINGERPRINT_KEY", "FERNET_KEYS"):
        if PLACEHOLDER in str(getattr(settings, name)):
            _refuse(f"{name} is still the placeholder of .env.example.")


def _check_keys() -> None:
    try:
        if not SealedCanary.sing():
            _refuse("FINGERPRINT_KEY is not the one that the keys in the database are known by.")
    except CannotUnseal:
        _refuse("FERNET_KEYS does not hold the key that sealed what is in the database.")
    except ProgrammingError:
        _refuse("The database has no tables yet. Run: manage.py migrate")


def _check_durability() -> None:
    with connection.cursor() as cursor:
        for name in DURABLE:
            cursor.execute(f"SHOW {name}")
            (value,) = cursor.fetchone()
            if value == "off":
                _refuse(f"PostgreSQL runs with {name}=off: what is accepted could be lost.")


def _refuse(message: str) -> None:
    raise ImproperlyConfigured(message)
