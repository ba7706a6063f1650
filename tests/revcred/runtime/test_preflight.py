"""What must be true before a process serves, and that none does otherwise."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery.signals import worker_init
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, connection

from revcred import fingerprints
from revcred.models import KeyringCheck
from revcred.runtime import preflight
from tests.owner import owner_cursor

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]

ROOT = Path(__file__).parents[3]
LONG_KEY = "a-key-of-more-than-thirty-two-bytes"


def refused(message):
    return pytest.raises(ImproperlyConfigured, match=message)


def let_the_database_forget():
    """As far as one session can have a say in it."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")


# --- Choices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["STAFF_SECOND_FACTOR", "LOG_FORMAT"])
def test_with_a_word_that_is_no_choice(settings, name):
    setattr(settings, name, "logfmt")

    with refused(f"{name} has to be"):
        preflight.check_configuration()


# --- Links in mails -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["", "https://", "https://*", "https://.example.com", "example.com", "ftp://a.b"]
)
def test_without_an_address_that_mails_can_name(settings, address):
    settings.PUBLIC_URL = address

    with refused("PUBLIC_URL has to be an address"):
        preflight.check_configuration()


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ({}, "https://one.example.com"),
        ({"ENVIRONMENT": "development"}, "http://one.example.com"),
        ({"PUBLIC_URL": "https://three.example.com/"}, "https://three.example.com"),
    ],
)
def test_mails_name_the_public_address_or_else_the_first_host(said, address):
    environment = {
        **os.environ,
        "PUBLIC_URL": "",  # whatever the environment of `make run` says
        "ENVIRONMENT": "production",
        "ALLOWED_HOSTS": "one.example.com,two.example.com",
        **said,
    }
    asked = "from revcred import settings; print(settings.PUBLIC_URL)"

    told = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, env=environment, capture_output=True, check=True
    )

    assert told.stdout.decode().strip() == address


# --- The ring -------------------------------------------------------------------------------------


def test_what_is_well_is_let_through():
    preflight.check_configuration()


def test_without_a_ring(settings):
    settings.FERNET_KEYS = []

    with refused("FERNET_KEYS is empty"):
        preflight.check_configuration()


@pytest.mark.parametrize("keys", [[""], [" "], ["first", ""], ["", "first"]])
def test_with_a_key_that_anybody_knows(settings, keys):
    settings.FERNET_KEYS = keys

    with refused("FERNET_KEYS contains an empty key"):
        preflight.check_configuration()


def test_with_the_secret_key_in_the_ring(settings):
    settings.FERNET_KEYS = ["first", settings.SECRET_KEY]

    with refused("FERNET_KEYS contains SECRET_KEY"):
        preflight.check_configuration()


def test_without_a_key_for_fingerprints(settings):
    settings.FINGERPRINT_KEY = ""

    with refused("FINGERPRINT_KEY is empty"):
        preflight.check_configuration()


def test_without_a_key_of_its_own_for_the_audit_while_that_of_fingerprints_is_exchanged(settings):
    settings.OLD_FINGERPRINT_KEY = settings.FINGERPRINT_KEY
    settings.FINGERPRINT_KEY = settings.AUDIT_KEY = LONG_KEY

    with refused("AUDIT_KEY would change with FINGERPRINT_KEY"):
        preflight.check_configuration()


def test_with_another_ring_than_the_one_that_sealed(ring):
    preflight.check_configuration()
    ring("second")

    with refused("FERNET_KEYS lacks the key that sealed"):
        preflight.check_configuration()


def test_with_a_ring_that_has_grown(ring):
    preflight.check_configuration()
    ring("second", "first")

    preflight.check_configuration()


def test_with_another_fingerprint_key(settings):
    preflight.check_configuration()
    settings.FINGERPRINT_KEY = "another"
    fingerprints._keyed_hashes.cache_clear()

    with refused("FINGERPRINT_KEY differs from the one"):
        preflight.check_configuration()
    fingerprints._keyed_hashes.cache_clear()


def test_with_a_canary_of_somebody_else():
    KeyringCheck.objects.create(pk=1, text="canary")  # not bound to its place

    with refused("FERNET_KEYS lacks the key that sealed"):
        preflight.check_configuration()


# --- The database ---------------------------------------------------------------------------------


def test_without_tables():
    with owner_cursor() as cursor:
        cursor.execute("ALTER TABLE revcred_keyringcheck RENAME TO elsewhere")

    with refused("Run: manage.py migrate"):
        preflight.check_configuration()


def test_a_database_that_is_away_is_no_reason_not_to_start():
    with connection.execute_wrapper(away):
        preflight.check_at_start()


def test_but_it_is_said_to_who_asks_later():
    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        preflight.check_configuration()


def away(*_):
    raise OperationalError


# --- In production --------------------------------------------------------------------------------


def test_elsewhere_the_database_may_forget():
    let_the_database_forget()

    preflight.check_configuration()


def test_with_a_database_that_may_forget(settings):
    settings.PRODUCTION, settings.FERNET_KEYS = True, [LONG_KEY]
    KeyringCheck.objects.all().delete()
    let_the_database_forget()

    # The tests' own forgets more than what a session can say.
    with refused("PostgreSQL runs with (fsync|synchronous_commit)=off"):
        preflight.check_configuration()


def test_with_debug(settings):
    settings.PRODUCTION = settings.DEBUG = True

    with refused("DEBUG is on in production"):
        preflight.check_configuration()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "change-me"),
        ("FINGERPRINT_KEY", "change-me-too"),
        ("FERNET_KEYS", ["first", "change-me-as-well"]),
    ],
)
def test_with_a_placeholder(settings, name, value):
    settings.PRODUCTION = True
    setattr(settings, name, value)

    with refused(f"{name} is still the placeholder"):
        preflight.check_configuration()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "x"),
        ("FINGERPRINT_KEY", "00"),
        ("FINGERPRINT_KEY", "a" * 31),
        ("AUDIT_KEY", "a" * 31),
        ("FERNET_KEYS", [LONG_KEY, "1"]),
    ],
)
def test_with_a_key_that_can_be_guessed(settings, name, value):
    settings.PRODUCTION, settings.FERNET_KEYS = True, [LONG_KEY]
    setattr(settings, name, value)

    with refused(f"{name} has fewer than 32 bytes"):
        preflight.check_configuration()


def test_elsewhere_a_short_key_will_do(settings):
    settings.SECRET_KEY = "x"

    preflight.check_configuration()


# --- No process serves ----------------------------------------------------------------------------


@pytest.fixture
def another_ring(ring):
    KeyringCheck.matches()
    ring("second")


@pytest.mark.usefixtures("another_ring")
def test_no_clock_goes_with_another_ring():
    with refused("FERNET_KEYS lacks the key that sealed"):
        call_command("clock")


@pytest.mark.usefixtures("another_ring")
def test_no_worker_works_with_another_ring():
    """Celery would log any exception but this one, and go on."""
    with pytest.raises(SystemExit, match="FERNET_KEYS lacks the key that sealed"):
        worker_init.send(sender=None)


@pytest.mark.django_db(transaction=True)
def test_no_page_is_served_with_another_ring():
    KeyringCheck.matches()

    web = subprocess.run(
        [sys.executable, "-m", "granian", "revcred.wsgi:application", "--interface", "wsgi"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": _url(), "FERNET_KEYS": "second", "GRANIAN_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert web.returncode == 1
    assert "FERNET_KEYS lacks the key that sealed" in web.stdout + web.stderr


def _url():
    """The tests' database, for a process that knows only what the environment says."""
    url = urlsplit(os.environ["DATABASE_URL"])
    return url._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
