"""What must be true before a process serves: asked once at its start, and by /readyz."""

from contextlib import suppress

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError, connection

from revcred.crypto import CannotUnseal
from revcred.models import SealedCanary

DURABILITY_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
PLACEHOLDER_TEXT = "change-me"


def check_configuration() -> None:
    """Raises ImproperlyConfigured with what to do, or OperationalError without a database."""
    _check_settings()
    _check_keyring()
    if settings.PRODUCTION:
        _check_durability()


def check_at_start() -> None:
    """As `check_configuration`, but a database that is away is no reason not to start: pages
    answer 503 then.
    """
    with suppress(OperationalError):
        check_configuration()


def _check_settings() -> None:
    if not settings.FERNET_KEYS:
        _fail_check("FERNET_KEYS is empty: there is nothing to seal keys and secrets with.")
    if not all(each.strip() for each in settings.FERNET_KEYS):
        _fail_check("FERNET_KEYS holds an empty key, with which anybody could unseal.")
    if not settings.FINGERPRINT_KEY.strip():
        _fail_check("FINGERPRINT_KEY is empty: anybody could tell whether a key is known.")
    if settings.SECRET_KEY in settings.FERNET_KEYS:
        _fail_check("FERNET_KEYS holds SECRET_KEY. The two rotate apart: choose another.")
    if settings.STAFF_SECOND_FACTOR not in ("required", "optional"):
        _fail_check("STAFF_SECOND_FACTOR has to be required or optional.")
    if not settings.PRODUCTION:
        return
    if settings.DEBUG:
        _fail_check("DEBUG is on in production, and would show what must not be seen.")
    for name in ("SECRET_KEY", "FINGERPRINT_KEY", "FERNET_KEYS"):
        if PLACEHOLDER_TEXT in str(getattr(settings, name)):
            _fail_check(f"{name} is still the placeholder of .env.example.")


def _check_keyring() -> None:
    try:
        if not SealedCanary.matches():
            _fail_check(
                "FINGERPRINT_KEY is not the one that the keys in the database are known by."
            )
    except CannotUnseal:
        _fail_check("FERNET_KEYS does not hold the key that sealed what is in the database.")
    except ProgrammingError:
        _fail_check("The database has no tables yet. Run: manage.py migrate")


def _check_durability() -> None:
    with connection.cursor() as cursor:
        for name in DURABILITY_SETTINGS:
            cursor.execute(f"SHOW {name}")
            (value,) = cursor.fetchone()
            if value == "off":
                _fail_check(f"PostgreSQL runs with {name}=off: what is accepted could be lost.")


def _fail_check(message: str) -> None:
    raise ImproperlyConfigured(message)
