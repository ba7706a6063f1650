"""Only so many passwords are hashed at once, so that signing in leaves the machine to others."""

import os
import sys

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.urls import reverse

from revcred.accounts import hashers
from revcred.models import RateCounter
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _quick_but_limited(settings, monkeypatch):
    settings.PASSWORD_HASHERS = ["revcred.accounts.hashers.ConcurrencyLimitedHasher"]
    monkeypatch.setattr(hashers.ConcurrencyLimitedHasher, "iterations", 1)


@pytest.fixture
def busy():
    for _ in range(2):
        assert hashers._hashing_slots().acquire(blocking=False)
    yield
    hashers._hashing_slots().release(2)


def test_one_after_the_other_any_number_is_hashed():
    hashed = [make_password("a password") for _ in range(5)]

    assert all(check_password("a password", each) for each in hashed)
    assert hashed[0].startswith("pbkdf2_sha256$")  # as those of before


@pytest.mark.skipif(sys.platform != "linux", reason="a whole process is nice elsewhere")
def test_hashing_makes_way_for_all_other_threads(monkeypatch):
    niceness = []
    hash_once = PBKDF2PasswordHasher.encode

    def encode(*arguments):
        niceness.append(os.getpriority(os.PRIO_PROCESS, 0))
        return hash_once(*arguments)

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", encode)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    make_password("a password")

    assert niceness == [min(before + hashers.ADDED_NICENESS, 19)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_third_at_the_same_time_is_refused(busy):
    with pytest.raises(hashers.HashersBusy):
        make_password("a password")


@pytest.mark.parametrize("email", ["ann@example.com", "nobody@example.com"])
def test_who_signs_in_then_is_asked_to_try_again_and_has_not_failed(client, request, email):
    factories.a_subscriber(email="ann@example.com")
    request.getfixturevalue("busy")
    for _ in range(8):
        answer = client.post(
            reverse("account_login"), {"login": email, "password": factories.PASSWORD}
        )

    assert (answer.status_code, answer["Retry-After"]) == (429, "2")
    assert "Many people are signing in" in answer.content.decode()
    assert max(RateCounter.objects.filter(waits_until=None).values_list("used", flat=True)) == 8
    assert sorted(RateCounter.objects.values_list("used", flat=True)) == [0, 0, 8]
