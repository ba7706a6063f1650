"""An invitation is a link by which a subscriber chooses a password and signs in."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import authenticate
from django.core import mail
from django.urls import reverse

from revcred.actions import subscribers
from revcred.models import AuditEvent, Subscriber, User
from tests import factories

pytestmark = pytest.mark.django_db

PASSWORD = "a battery for every horse"


@pytest.fixture
def by():
    return factories.a_user("admin@example.com", is_staff=True)


@pytest.fixture
def invite(by, rf, sent_mail):
    """Invites, and gives the mail that was sent."""

    def invited(subscriber):
        mail.outbox.clear()
        subscribers.invite(subscriber=subscriber, by=by, request=rf.get("/admin/"))
        (sent,) = sent_mail()
        return sent

    return invited


def a_newcomer(email="Ann@Example.com"):
    subscriber = Subscriber.objects.create(email=email, name="Ann")
    subscriber.memberships.create(customer=factories.a_customer())
    return subscriber


def choose_password(client, sent):
    (link,) = re.findall(r"http://testserver(\S+)", sent.body)
    form = client.get(link, follow=True)
    chosen = {"password1": PASSWORD, "password2": PASSWORD}
    return client.post(form.request["PATH_INFO"], chosen, follow=True)


def sign_in(client, email):
    client.post(reverse("account_login"), {"login": email, "password": PASSWORD})
    return client.get(reverse("storefront:home"))


def test_who_is_invited_chooses_a_password_and_signs_in(client, invite):
    subscriber = a_newcomer()

    sent = invite(subscriber)

    assert sent.to == ["ann@example.com"]
    assert choose_password(client, sent).status_code == 200
    home = sign_in(client, "ann@example.com")
    assert (home.status_code, home.wsgi_request.user) == (200, subscriber.user)


def test_until_then_nobody_signs_in_as_the_newcomer(client, invite):
    invite(a_newcomer())

    assert sign_in(client, "ann@example.com").status_code == 302


def test_a_link_works_once(client, invite):
    sent = invite(a_newcomer())
    choose_password(client, sent)

    (link,) = re.findall(r"http://testserver(\S+)", sent.body)
    assert "This link has had its day" in client.get(link, follow=True).content.decode()


def test_an_invitation_is_on_record_without_its_link(invite, by):
    subscriber = a_newcomer()

    invite(subscriber)

    event = AuditEvent.objects.get()
    assert (event.verb, event.target_id, event.actor, event.details) == (
        AuditEvent.Verb.INVITED,
        subscriber.pk,
        by.email,
        {},
    )


def test_inviting_again_makes_no_second_user(invite):
    subscriber = a_newcomer()
    invite(subscriber)

    invite(Subscriber.objects.get(pk=subscriber.pk))

    assert User.objects.filter(email="ann@example.com").count() == 1


def test_whoever_has_a_login_already_keeps_it(invite):
    staff = factories.a_user("ann@example.com", is_staff=True)
    User.objects.filter(pk=staff.pk).update(email="ANN@example.com")
    subscriber = a_newcomer()

    invite(subscriber)

    subscriber.refresh_from_db()
    assert subscriber.user == staff


def test_a_login_belongs_to_one_subscriber(invite):
    renamed = a_newcomer()
    invite(renamed)
    Subscriber.objects.filter(pk=renamed.pk).update(email="another@example.com")

    with pytest.raises(subscribers.AnotherSubscriber):
        invite(a_newcomer())


def test_nobody_signs_up(client):
    chosen = {"email": "me@example.com", "password1": PASSWORD, "password2": PASSWORD}

    client.post(reverse("account_signup"), chosen)

    assert not User.objects.exists()


def test_who_changes_address_signs_in_with_the_new_one():
    subscriber = factories.a_subscriber(email="old@example.com")
    subscriber.email = "New@example.com"
    subscriber.save()

    subscribers.change_address(subscriber=subscriber, by=None)

    assert authenticate(email="new@example.com", password=factories.PASSWORD)
    assert not authenticate(email="old@example.com", password=factories.PASSWORD)
    assert EmailAddress.objects.get().email == "new@example.com"
