"""What must be true before a process serves, and that none does otherwise."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from revcred import preflight
from revcred.models import SealedCanary

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]

ROOT = Path(__file__).parents[2]
PROCESSES = {
    "web": ("granian", "revcred.wsgi:application", "--interface", "wsgi", "--port", "0"),
    "worker": ("celery", "-A", "revcred", "worker", "--pool", "solo"),
    "clock": ("manage", "clock"),
}


def refused(message):
    return pytest.raises(ImproperlyConfigured, match=message)


def durable(yes):
    """As far as one session can have a say in it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL synchronous_commit = {'on' if yes else 'off'}")


# --- The ring -------------------------------------------------------------------------------------


def test_what_is_well_is_let_through():
    preflight.check()


def test_without_a_ring(settings):
    settings.FERNET_KEYS = []

    with refused("FERNET_KEYS is empty"):
        preflight.check()


@pytest.mark.parametrize("keys", [[""], [" "], ["first", ""], ["", "first"]])
def test_with_a_key_that_anybody_knows(settings, keys):
    settings.FERNET_KEYS = keys

    with refused("FERNET_KEYS holds an empty key"):
        preflight.check()


def test_with_the_secret_key_in_the_ring(settings):
    settings.FERNET_KEYS = ["first", settings.SECRET_KEY]

    with refused("FERNET_KEYS holds SECRET_KEY"):
        preflight.check()


def test_without_a_key_for_fingerprints(settings):
    settings.FINGERPRINT_KEY = ""

    with refused("FINGERPRINT_KEY is empty"):
        preflight.check()


def test_with_another_ring_than_the_one_that_sealed(ring):
    preflight.check()
    ring("second")

    with refused("FERNET_KEYS does not hold the key that sealed"):
        preflight.check()


def test_with_a_ring_that_has_grown(ring):
    preflight.check()
    ring("second", "first")

    preflight.check()


def test_with_a_canary_of_somebody_else():
    SealedCanary.objects.create(pk=1, text="canary")  # not bound to its place

    with refused("FERNET_KEYS does not hold the key that sealed"):
        preflight.check()


# --- The database ---------------------------------------------------------------------------------


def test_without_tables():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE revcred_sealedcanary RENAME TO elsewhere")

    with refused("Run: manage.py migrate"):
        preflight.check()


def test_a_database_that_is_away_is_no_reason_not_to_start():
    with connection.execute_wrapper(away):
        preflight.check_at_start()


def test_but_it_is_said_to_who_asks_later():
    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        preflight.check()


def away(*_):
    raise OperationalError


# --- In production --------------------------------------------------------------------------------


def test_elsewhere_the_database_may_forget():
    durable(False)

    preflight.check()


def test_with_a_database_that_may_forget(settings):
    settings.PRODUCTION = True
    durable(False)

    # The tests' own forgets more than what a session can say.
    with refused("PostgreSQL runs with (fsync|synchronous_commit)=off"):
        preflight.check()


def test_with_debug(settings):
    settings.PRODUCTION = settings.DEBUG = True

    with refused("DEBUG is on in production"):
        preflight.check()


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
        preflight.check()


# --- No process serves ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_no_process_starts_with_another_ring():
    SealedCanary.sing()
    environment = os.environ | {"DATABASE_URL": _url(), "FERNET_KEYS": "second"}
    started = {
        name: subprocess.Popen(
            [sys.executable, *_arguments(*command)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, command in PROCESSES.items()
    }
    said = {name: _last_words(process) for name, process in started.items()}

    assert {name: process.returncode != 0 for name, process in started.items()} == dict.fromkeys(
        PROCESSES, True
    )
    for words in said.values():
        assert "FERNET_KEYS does not hold the key that sealed what is in the database." in words


def _url():
    """The tests' database, for a process that knows only what the environment says."""
    url = urlsplit(os.environ["DATABASE_URL"])
    return url._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


def _arguments(program, *arguments):
    return ("manage.py", *arguments) if program == "manage" else ("-m", program, *arguments)


def _last_words(process):
    try:
        return process.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]
