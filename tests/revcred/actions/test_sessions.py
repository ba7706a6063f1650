"""Sessions are listed and ended: one by one or all, by their person and by who is above."""

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from revcred.actions import sessions, tokens, users
from revcred.models import AuditEvent, OutgoingMail, Session, User, UserToken
from tests import factories
from tests.second_factors import give_password

pytestmark = pytest.mark.django_db

PAGE = reverse("account_sessions")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"


@pytest.fixture
def ann():
    return factories.a_subscriber(factories.a_customer(), email="ann@example.com").user


@pytest.fixture
def boss():
    return factories.an_admin()


def browser_of(user, **headers):
    client = Client(headers={"user-agent": FIREFOX}, REMOTE_ADDR="198.51.100.7")
    give_password(client, user)
    return client


def session_of(client):
    return Session.objects.of_key(client.cookies[settings.SESSION_COOKIE_NAME].value).get()


def is_signed_in(client):
    return client.get(PAGE).status_code == 200


def confirm(client):
    answer = client.post(reverse("account_reauthenticate"), {"password": factories.PASSWORD})
    assert answer.status_code == 302


def last_event():
    event = AuditEvent.objects.latest("pk")
    return event.verb, event.actor, event.target


def test_a_person_sees_own_sessions_and_ends_one(ann):
    here, there = browser_of(ann), browser_of(ann)
    browser_of(factories.a_subscriber(factories.a_customer()).user)
    page = here.get(PAGE).content.decode()
    assert page.count("Firefox on Linux") == page.count("198.51.100.7") == 2
    assert page.count("End this session") == page.count("this one\n") == 1

    confirm(here)
    here.post(PAGE, {"session": session_of(there).pk})

    assert (is_signed_in(here), is_signed_in(there)) == (True, False)
    assert last_event() == ("session_ended", "ann@example.com", "ann@example.com")
    details = AuditEvent.objects.latest("pk").details
    assert (details["browser"], details["address"]) == ("Firefox on Linux", "198.51.100.7")


def test_ending_one_takes_a_fresh_confirmation(ann):
    here, there = browser_of(ann), browser_of(ann)

    answer = here.post(PAGE, {"session": session_of(there).pk})

    assert answer.url.startswith(reverse("account_reauthenticate"))
    assert is_signed_in(there)


@pytest.mark.parametrize("number", ["of somebody else", "x", "", "9" * 30])
def test_nothing_else_is_ended(ann, number):
    here = browser_of(ann)
    other = browser_of(factories.a_subscriber(factories.a_customer()).user)
    if number == "of somebody else":
        number = session_of(other).pk
    confirm(here)

    assert here.post(PAGE, {"session": number}).status_code == 302

    assert Session.objects.count() == 2


def test_signing_out_everywhere_ends_this_one_too_and_the_tokens(boss):
    here, there = browser_of(boss), browser_of(boss)
    tokens.issue_user_token(user=boss, name="x", scopes=UserToken.Scope.values, by=boss)
    confirm(here)

    answer = here.post(PAGE, {"everywhere": "yes"})

    assert answer.url == reverse("account_login")
    assert not is_signed_in(here)
    assert not is_signed_in(there)
    assert not UserToken.objects.filter(revoked_at=None).exists()
    assert AuditEvent.objects.filter(verb="signed_out_all", actor=boss.email).exists()


def test_an_admin_ends_sessions_of_others_on_their_page(ann, boss, client):
    client.force_login(boss)
    here, there = browser_of(ann), browser_of(ann)
    page = client.get(reverse("admin:revcred_user_change", args=[ann.pk])).content.decode()
    assert page.count("Firefox on Linux, from 198.51.100.7, since") == 2

    url = reverse("admin:revcred_user_end-sessions", args=[ann.pk])
    client.post(url, {"sessions": [session_of(there).pk]})
    assert (is_signed_in(here), is_signed_in(there)) == (True, False)
    assert last_event() == ("session_ended", boss.email, ann.email)
    sessions.sign_out_everywhere(user=ann, by=boss)
    assert not is_signed_in(here)


def test_nobody_ends_those_of_an_equal(ann, boss):
    other = factories.a_user(is_staff=True, is_superuser=True)
    session = session_of(browser_of(other))

    for by in (boss, ann):
        with pytest.raises(users.LoginRankTooHigh):
            sessions.end_session(session=session, user=other, by=by)
        with pytest.raises(users.LoginRankTooHigh):
            sessions.sign_out_everywhere(user=other, by=by)
    assert Session.objects.filter(pk=session.pk).exists()


def test_what_ends_sessions_takes_them_off_the_list(ann, boss):
    here, _ = browser_of(ann), browser_of(ann)
    new = "another staple for a horse"
    typed = {"oldpassword": factories.PASSWORD, "password1": new, "password2": new}
    here.post(reverse("account_change_password"), typed)
    assert [*ann.sessions.all()] == [session_of(here)]

    users.change_login(user=ann, values={"is_active": False}, by=boss)
    assert not ann.sessions.exists()
    assert not OutgoingMail.objects.filter(subject__contains="token").exists()
    assert User.objects.get(pk=ann.pk).session_number == 0
