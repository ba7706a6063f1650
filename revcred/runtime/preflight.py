"""Preflight checks: what must be true before a process serves, checked at start and by /readyz."""

import logging
import re
from contextlib import suppress

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError, connection

from revcred.client_address import check_trusted_proxies
from revcred.crypto import CannotUnseal
from revcred.models import KeyringCheck
from revcred.texts import gettext_lazy

logger = logging.getLogger(__name__)

# With any of these off, a crash of PostgreSQL may lose what a 202 promised.
DURABILITY_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
# A superuser may do everything, and who owns a table may change it and its triggers.
FIND_EXCESSIVE_RIGHTS = """
SELECT rolsuper OR rolreplication, coalesce(
    has_table_privilege(to_regclass('revcred_auditevent'), 'UPDATE, DELETE, TRUNCATE'), false
)
FROM pg_roles WHERE rolname = current_user
"""
SUPERUSER_WARNING = gettext_lazy(
    "The role in DATABASE_URL is a superuser of PostgreSQL. Name one without rights there, and the"
    " present one in MIGRATION_DATABASE_URL; then run: manage.py migrate"
)
AUDIT_WARNING = gettext_lazy(
    "The role in DATABASE_URL can change the audit. Name one that owns no tables there, and their"
    " owner in MIGRATION_DATABASE_URL; then run: manage.py migrate"
)
PLACEHOLDER_TEXT = "change-me"
PUBLIC_URL_PATTERN = re.compile(r"https?://(?!\.)[^\s/?#*@]+(?:/[^\s?#]*)?")
MIN_KEY_BYTES = 32


def check_configuration() -> None:
    """Check settings, keyring and durability.

    Raises ImproperlyConfigured with what to do, or OperationalError without a database.
    """
    _check_settings()
    _check_keyring()
    if settings.PRODUCTION:
        _check_durability()


def check_at_start() -> None:
    """Check as `check_configuration`, but start without a database: pages then answer 503."""
    # Web processes start before the database does on many machines, and recover by themselves.
    with suppress(OperationalError):
        check_configuration()
        for warning in find_weaknesses():
            logger.warning(warning)


def find_weaknesses() -> list[str]:
    """Return what makes this installation less safe than it could be, as sentences for admins.

    None of it stops a process: installations that have run like this go on after an upgrade.
    """
    with connection.cursor() as cursor:
        cursor.execute(FIND_EXCESSIVE_RIGHTS)
        is_superuser, can_change_audit = cursor.fetchone()
    if is_superuser:
        return [SUPERUSER_WARNING]
    if can_change_audit:
        return [AUDIT_WARNING]
    return []


def _check_settings() -> None:
    _check_keys()
    _check_choices()
    _check_addresses()
    # Placeholders and DEBUG are fine on a developer's machine.
    if not settings.PRODUCTION:
        return
    if settings.DEBUG:
        _fail_check("DEBUG is on in production: error pages would show data. Turn it off.")
    for name in ("SECRET_KEY", "FINGERPRINT_KEY", "FERNET_KEYS"):
        if PLACEHOLDER_TEXT in str(getattr(settings, name)):
            _fail_check(f"{name} is still the placeholder of .env.example. Set a random value.")
    _check_key_lengths()


def _check_keys() -> None:
    if not settings.FERNET_KEYS:
        _fail_check("FERNET_KEYS is empty: keys and secrets cannot be sealed. Set a random one.")
    if not all(key.strip() for key in settings.FERNET_KEYS):
        _fail_check(
            "FERNET_KEYS contains an empty key, with which anybody could unseal. Remove it."
        )
    if not settings.FINGERPRINT_KEY.strip():
        _fail_check(
            "FINGERPRINT_KEY is empty: anybody could compute fingerprints. Set a random one."
        )
    if settings.OLD_FINGERPRINT_KEY == settings.FINGERPRINT_KEY:
        _fail_check("OLD_FINGERPRINT_KEY is FINGERPRINT_KEY. Set a new FINGERPRINT_KEY.")
    if settings.OLD_FINGERPRINT_KEY and settings.AUDIT_KEY == settings.FINGERPRINT_KEY:
        _fail_check(
            "AUDIT_KEY would change with FINGERPRINT_KEY, and nobody could verify the audit. Set"
            " AUDIT_KEY to the value of OLD_FINGERPRINT_KEY, and keep it for ever."
        )
    others = {settings.SECRET_KEY, settings.FINGERPRINT_KEY, settings.AUDIT_KEY}
    if settings.EXPORT_KEY and settings.EXPORT_KEY in {*others, *settings.FERNET_KEYS}:
        _fail_check("EXPORT_KEY is another of the keys, and gateways have it. Set one of its own.")
    if settings.SECRET_KEY in settings.FERNET_KEYS:
        _fail_check("FERNET_KEYS contains SECRET_KEY. They rotate separately: choose another key.")


def _check_choices() -> None:
    if settings.STAFF_SECOND_FACTOR not in ("required", "optional"):
        _fail_check('STAFF_SECOND_FACTOR has to be "required" or "optional".')
    if settings.LOG_FORMAT not in ("text", "json"):
        _fail_check('LOG_FORMAT has to be "text" or "json".')


def _check_addresses() -> None:
    check_trusted_proxies()
    if not PUBLIC_URL_PATTERN.fullmatch(settings.PUBLIC_URL):
        _fail_check(
            "PUBLIC_URL has to be an address such as https://credentials.example.com: links in"
            " mails begin with it. Without it, the first of ALLOWED_HOSTS has to be a whole name."
        )


def _check_key_lengths() -> None:
    """Refuse keys that could be guessed: whoever has a dump could try all of the short ones."""
    for name, keys in (
        ("SECRET_KEY", [settings.SECRET_KEY]),
        ("FINGERPRINT_KEY", [settings.FINGERPRINT_KEY]),
        ("AUDIT_KEY", [settings.AUDIT_KEY]),
        ("FERNET_KEYS", settings.FERNET_KEYS),
    ):
        if any(len(key.encode()) < MIN_KEY_BYTES for key in keys):
            _fail_check(
                f"{name} has fewer than {MIN_KEY_BYTES} bytes, which could be guessed. Set a"
                " random value, such as that of: openssl rand -hex 32"
            )


def _check_keyring() -> None:
    try:
        # The first process ever writes the row; all later ones compare with it.
        if not KeyringCheck.matches():
            _fail_check(
                "FINGERPRINT_KEY differs from the one used so far. Restore that one, or set it as"
                " OLD_FINGERPRINT_KEY to exchange it."
            )
    except CannotUnseal:
        _fail_check("FERNET_KEYS lacks the key that sealed the values in the database. Add it.")
    except ProgrammingError:
        _fail_check("The database has no tables yet. Run: manage.py migrate")


def _check_durability() -> None:
    with connection.cursor() as cursor:
        for name in DURABILITY_SETTINGS:
            cursor.execute(f"SHOW {name}")
            (value,) = cursor.fetchone()
            if value == "off":
                _fail_check(
                    f"PostgreSQL runs with {name}=off: accepted calls could be lost. Turn it on."
                )


def _fail_check(message: str) -> None:
    raise ImproperlyConfigured(message)
