"""Browsers that a login is known in: strangers do not lock the owner out of them."""

import re

import pytest
from django.core import signing
from django.test import Client
from django.urls import reverse

from revcred.accounts import devices
from revcred.models import OutgoingMail, User
from tests import factories
from tests.second_factors import an_app, give_password

pytestmark = pytest.mark.django_db

LOGIN = reverse("account_login")
CODE = reverse("mfa_authenticate")


@pytest.fixture
def ann():
    return factories.a_subscriber(factories.a_customer(), email="ann@example.com").user


@pytest.fixture
def browser(client, ann):
    """One in which ann has signed in, and is signed out."""
    give_password(client, ann)
    client.post(reverse("account_logout"))
    return client


def guess(client, times=6):
    answers = [
        client.post(LOGIN, {"login": "ann@example.com", "password": "wrong"}) for _ in range(times)
    ]
    return answers[-1]


def open_link(client, mail):
    return client.get(re.search(r"http://testserver(\S+)", mail.body)[1])


def test_a_stranger_next_door_does_not_lock_the_owner_out(browser, ann):
    assert guess(Client()).status_code == 429
    assert give_password(Client(), ann).status_code == 429

    assert give_password(browser, ann).status_code == 302


def test_a_known_browser_has_its_own_limit_and_no_link(browser, ann):
    assert guess(browser).status_code == 429

    assert give_password(Client(), ann).status_code == 302
    assert not OutgoingMail.objects.exists()


def test_the_link_of_a_mail_lifts_the_limit_in_the_browser_that_opens_it(client, ann, sent_mail):
    answer = guess(Client())
    assert "Open it in this browser" in answer.content.decode()
    [mail] = sent_mail()
    assert (mail.to, mail.subject) == (["ann@example.com"], "Somebody tries to sign in as you")

    assert open_link(client, mail).status_code == 302

    assert "_auth_user_id" not in client.session
    assert give_password(client, ann).status_code == 302
    assert client.session["_auth_user_id"] == str(ann.pk)


def test_the_mail_comes_once_an_hour_and_only_to_who_can_sign_in(client, ann):
    guess(client, 9)
    assert OutgoingMail.objects.count() == 1

    User.objects.update(is_active=False)
    OutgoingMail.objects.all().delete()
    ben = factories.a_subscriber(factories.a_customer()).user
    User.objects.filter(pk=ben.pk).update(is_active=False)
    for email in (ben.email, "nobody@example.com"):
        tried = [client.post(LOGIN, {"login": email, "password": "x"}) for _ in range(6)]
        assert "Open it in this browser" in tried[-1].content.decode()
    assert not OutgoingMail.objects.exists()


def test_codes_are_limited_on_each_known_browser_by_themselves(client, ann):
    app = an_app(ann)
    give_password(client, ann)
    client.post(CODE, {"code": app.code()})
    client.post(reverse("account_logout"))
    stranger = Client()
    give_password(stranger, ann)
    statuses = [stranger.post(CODE, {"code": "000000"}).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]

    give_password(client, ann)
    assert client.post(CODE, {"code": app.code()}).status_code == 302


def test_signing_out_everywhere_ends_what_is_known(browser, ann, sent_mail):
    guess(Client())
    [mail] = sent_mail()
    ann.session_number += 1
    ann.save()

    assert give_password(browser, ann).status_code == 429
    assert open_link(Client(), mail).status_code == 409


@pytest.mark.parametrize(
    "token", ["x", signing.dumps([1, 0]), ""], ids=["text", "other salt", "empty"]
)
def test_a_forged_link_or_cookie_makes_nothing_known(client, ann, token):
    client.cookies[devices.DEVICE_COOKIE_NAME] = token
    guess(client)

    assert give_password(client, ann).status_code == 429
    if token:
        answer = client.get(reverse("account_known_device", args=[token]))
        assert answer.status_code == 409


def test_five_people_share_a_browser(client):
    people = [factories.a_subscriber(factories.a_customer()).user for _ in range(6)]
    for user in people:
        give_password(client, user)
        client.post(reverse("account_logout"))

    request = type("Request", (), {"COOKIES": {k: v.value for k, v in client.cookies.items()}})
    assert [bool(devices.known_device(request, user)) for user in people] == [False] + [True] * 5
    assert client.cookies[devices.DEVICE_COOKIE_NAME]["httponly"]
