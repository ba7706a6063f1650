"""Sessions: kept under digests, ended by rest and by age, and written seldom."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from revcred.accounts.sessions import SessionStore
from revcred.models import Session
from revcred.models.sessions import session_digest
from tests import factories
from tests.second_factors import give_password

pytestmark = pytest.mark.django_db

HOME = reverse("storefront:home")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def ann():
    return factories.a_subscriber(factories.a_customer(), email="ann@example.com").user


@pytest.fixture
def boss():
    return factories.an_admin()


def is_signed_in(client):
    return client.get(reverse("account_change_password")).status_code == 200


def later(**columns):
    Session.objects.update(**{name: F(name) - ago for name, ago in columns.items()})


def test_the_table_does_not_hold_what_the_cookie_says(client, ann):
    give_password(client, ann)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value

    session = Session.objects.get()
    assert session.user == ann
    assert cookie not in repr([*Session.objects.values_list()])
    client.cookies[settings.SESSION_COOKIE_NAME] = bytes(session.digest).hex()
    assert not is_signed_in(client)


def test_a_copy_of_a_row_continues_nothing(client, ann):
    give_password(client, ann)
    copy = Session.objects.get()
    copy.pk, copy.digest = None, session_digest("a key of somebody else")
    copy.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = "a key of somebody else"

    assert not is_signed_in(client)


def test_it_says_from_where_and_with_what(client, ann):
    client.post(
        reverse("account_login"),
        {"login": ann.email, "password": factories.PASSWORD},
        REMOTE_ADDR="198.51.100.7",
        headers={"user-agent": "Firefox" * 100},
    )

    session = Session.objects.get()
    assert (session.address, session.browser[:7]) == ("198.51.100.7", "Firefox")
    assert len(session.browser) == 200


@pytest.mark.parametrize(
    ("who", "idle", "whole"), [("boss", 30 * MINUTE, 12 * HOUR), ("ann", 7 * DAY, 30 * DAY)]
)
def test_it_ends_by_rest_and_by_age(client, request, who, idle, whole):
    user = request.getfixturevalue(who)
    for column, limit in (("last_seen_at", idle), ("created_at", whole)):
        client.force_login(user)
        later(**{column: limit - MINUTE})
        assert is_signed_in(client)
        later(**{column: limit})
        assert not is_signed_in(client)
        SessionStore.clear_expired()
        assert not Session.objects.exists()


def test_use_makes_it_rest_no_longer_but_last_no_longer(client, boss):
    client.force_login(boss)
    for _ in range(5):
        later(last_seen_at=29 * MINUTE, created_at=29 * MINUTE)
        assert is_signed_in(client)
    Session.objects.update(created_at=F("created_at") - 10 * HOUR)

    assert not is_signed_in(client)


def test_use_is_written_once_a_minute(client, ann):
    client.force_login(ann)

    def written():
        with CaptureQueriesContext(connection) as queries:
            client.get(HOME)
        return [each for each in queries if each["sql"].startswith("UPDATE")]

    assert written() == []
    later(last_seen_at=2 * MINUTE)
    assert len(written()) == 1
    assert written() == []


def test_signing_in_begins_a_session_and_a_new_password_does_not(client, ann):
    client.get(reverse("account_login"))
    give_password(client, ann)
    later(created_at=HOUR)
    began = Session.objects.get().created_at
    first_cookie = client.cookies[settings.SESSION_COOKIE_NAME].value

    new = "another staple for a horse"
    typed = {"oldpassword": factories.PASSWORD, "password1": new, "password2": new}
    client.post(reverse("account_change_password"), typed)

    assert client.cookies[settings.SESSION_COOKIE_NAME].value != first_cookie
    assert Session.objects.get().created_at == began
    client.post(reverse("account_logout"))
    assert not Session.objects.exists()


def test_one_that_was_ended_meanwhile_is_not_written_anew(client, ann):
    client.force_login(ann)
    session = SessionStore(client.cookies[settings.SESSION_COOKIE_NAME].value)
    session["x"] = 1
    Session.objects.all().delete()

    with pytest.raises(UpdateError):
        session.save()
    assert SessionStore("x" * 32).load() == {}
