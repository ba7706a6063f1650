"""An invitation is a link by which a subscriber accepts, chooses a password and signs in."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError
from django.db.transaction import atomic
from django.urls import reverse

from revcred.actions import subscribers
from revcred.actions.addresses import MembershipRightRequired
from revcred.actions.users import AddressOfStaff
from revcred.models import AuditEvent, Membership, Subscriber, User
from tests import factories

pytestmark = pytest.mark.django_db

PASSWORD = "a battery for every horse"


@pytest.fixture
def by():
    user = factories.a_user("admin@example.com", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="change_membership"))
    return user


@pytest.fixture
def invite(by, rf, sent_mail):
    """Invites, and gives the mail that was sent."""

    def invited(subscriber):
        before = len(sent_mail())
        subscribers.invite_subscriber(subscriber=subscriber, by=by, request=rf.get("/admin/"))
        (sent,) = sent_mail()[before:]
        return sent

    return invited


def a_newcomer(email="Ann@Example.com"):
    subscriber = Subscriber.objects.create(email=email, name="Ann")
    subscriber.memberships.create(customer=factories.a_customer())
    return subscriber


def link_in(sent):
    (link,) = re.findall(r"http://testserver(\S+)", sent.body)
    return link


def open_link(client, sent):
    return client.get(link_in(sent), follow=True)


def choose_password(client, sent):
    page = open_link(client, sent)
    chosen = {"password1": PASSWORD, "password2": PASSWORD}
    return client.post(page.request["PATH_INFO"], chosen, follow=True)


def sign_in(client, email, password=PASSWORD):
    client.post(reverse("account_login"), {"login": email, "password": password})
    return client.get(reverse("storefront:home"))


def text_of(page):
    return " ".join(page.content.decode().split())


def test_who_is_invited_chooses_a_password_and_signs_in(client, invite):
    subscriber = a_newcomer()

    sent = invite(subscriber)

    assert sent.to == ["ann@example.com"]
    assert choose_password(client, sent).status_code == 200
    home = sign_in(client, "ann@example.com")
    subscriber.refresh_from_db()
    assert (home.status_code, home.wsgi_request.user) == (200, subscriber.user)


def test_until_then_there_is_no_login(client, invite):
    invite(a_newcomer())

    assert sign_in(client, "ann@example.com").status_code == 302
    assert not User.objects.filter(email="ann@example.com").exists()


def test_a_weak_password_is_refused_and_nothing_is_linked(client, invite):
    sent = invite(a_newcomer())
    page = open_link(client, sent)

    again = client.post(page.request["PATH_INFO"], {"password1": "123", "password2": "123"})

    assert "too short" in text_of(again)
    assert not User.objects.filter(email="ann@example.com").exists()


def test_a_link_works_once(client, invite):
    sent = invite(a_newcomer())
    choose_password(client, sent)

    page = open_link(client, sent)
    assert page.status_code == 409
    assert "This link was used before" in text_of(page)


def test_a_link_to_an_address_the_subscriber_no_longer_has_is_void(client, invite, by, rf):
    subscriber = a_newcomer()
    sent = invite(subscriber)

    subscribers.change_subscriber_address(
        subscriber=subscriber, email="other@example.com", by=by, request=rf.get("/")
    )

    assert open_link(client, sent).status_code == 409


@pytest.mark.parametrize("token", ["", "x", "a:b:c", "\0", "é", "W10:1:" + "x" * 43])
def test_a_made_up_link_is_refused(client, token):
    assert client.get(f"/account/invitation/{token}/", follow=True).status_code in (404, 409)


def test_an_invitation_is_on_record_without_its_link(invite, by):
    subscriber = a_newcomer()

    invite(subscriber)

    event = AuditEvent.objects.get()
    assert (event.verb, event.target_id, event.actor, event.details, event.address) == (
        AuditEvent.Verb.INVITED,
        subscriber.pk,
        by.email,
        {},
        "127.0.0.1",
    )


def test_accepting_is_on_record(client, invite):
    subscriber = a_newcomer()
    choose_password(client, invite(subscriber))

    event = AuditEvent.objects.about(subscriber).first()
    assert (event.verb, event.actor) == ("invitation_accepted", "ann@example.com")


def test_inviting_again_makes_no_second_user(client, invite):
    subscriber = a_newcomer()
    choose_password(client, invite(subscriber))

    choose_password(client, invite(Subscriber.objects.get(pk=subscriber.pk)))

    assert User.objects.filter(email="ann@example.com").count() == 1
    assert sign_in(client, "ann@example.com").status_code == 200


def test_a_login_that_is_there_is_linked_when_its_owner_accepts(client, invite):
    login = factories.a_user("ann@example.com")
    subscriber = a_newcomer()
    sent = invite(subscriber)
    subscriber.refresh_from_db()
    assert subscriber.user is None

    page = open_link(client, sent)
    assert "Sign in as" in text_of(page)
    assert client.post(page.request["PATH_INFO"]).status_code == 409  # not signed in
    client.post(
        f"{reverse('account_login')}?next={reverse('account_invitation_page')}",
        {"login": login.email, "password": factories.PASSWORD},
    )
    client.post(reverse("account_invitation_page"))

    subscriber.refresh_from_db()
    assert subscriber.user == login
    login.refresh_from_db()
    assert login.check_password(factories.PASSWORD)


def test_nobody_else_accepts_for_a_login_that_is_there(client, invite):
    factories.a_user("ann@example.com")
    subscriber = a_newcomer()
    sent = invite(subscriber)
    client.force_login(factories.a_user("eve@example.com"))

    page = open_link(client, sent)
    answer = client.post(page.request["PATH_INFO"], {"password1": PASSWORD, "password2": PASSWORD})

    subscriber.refresh_from_db()
    assert (answer.status_code, subscriber.user) == (409, None)


@pytest.mark.parametrize("rights", [{"is_staff": True}, {"is_superuser": True}])
@pytest.mark.parametrize("active", [True, False])
def test_a_staff_login_is_never_linked_nor_changed(invite, rights, active):
    staff = factories.a_user("ann@example.com", is_active=active, **rights)
    User.objects.filter(pk=staff.pk).update(email="ANN@example.com")
    subscriber = a_newcomer()

    with pytest.raises(AddressOfStaff):
        invite(subscriber)

    subscriber.refresh_from_db()
    assert subscriber.user is None


def test_nor_if_it_became_staff_after_the_invitation(client, invite):
    login = factories.a_user("ann@example.com")
    subscriber = a_newcomer()
    sent = invite(subscriber)
    User.objects.filter(pk=login.pk).update(is_staff=True)
    client.force_login(login)

    page = open_link(client, sent)
    assert client.post(page.request["PATH_INFO"]).status_code == 409

    subscriber.refresh_from_db()
    assert subscriber.user is None


@pytest.mark.parametrize("rights", [{"is_staff": True}, {"is_superuser": True}])
def test_the_database_keeps_them_apart_whatever_writes(rights):
    staff, subscriber = factories.a_user(**rights), factories.a_subscriber()

    with pytest.raises(IntegrityError, match="belongs to no subscriber"), atomic():
        Subscriber.objects.create(email=staff.email, user=staff)
    with pytest.raises(IntegrityError, match="belongs to no subscriber"), atomic():
        Subscriber.objects.filter(pk=subscriber.pk).update(user=staff)
    with pytest.raises(IntegrityError, match="not made staff"), atomic():
        User.objects.filter(pk=subscriber.user_id).update(**rights)


def test_a_login_belongs_to_one_subscriber(client, invite):
    renamed = a_newcomer()
    choose_password(client, invite(renamed))
    Subscriber.objects.filter(pk=renamed.pk).update(email="another@example.com")
    newcomer = a_newcomer()

    with pytest.raises(subscribers.AddressOfAnotherSubscriber):
        invite(newcomer)


def test_nobody_signs_up(client):
    chosen = {"email": "me@example.com", "password1": PASSWORD, "password2": PASSWORD}

    client.post(reverse("account_signup"), chosen)

    assert not User.objects.exists()


def test_who_was_invited_to_the_old_address_and_the_owners_are_told(invite, by, rf, sent_mail):
    subscriber = a_newcomer()
    owner = factories.a_subscriber(subscriber.customers.get(), Membership.Role.OWNER)
    invite(subscriber)

    subscribers.change_subscriber_address(
        subscriber=subscriber, email="New@example.com", by=by, request=rf.get("/")
    )

    subscriber.refresh_from_db()
    assert subscriber.email == "new@example.com"
    told = [(each.to, each.subject.partition(" of ")[0]) for each in sent_mail()[1:]]
    assert told == [
        (["ann@example.com"], "Your invitation is no longer valid"),
        ([owner.email], "A member"),
    ]


def test_without_the_right_to_memberships_nobody_passes_them_to_another_address(rf):
    """Or else whoever may change an address and invite has what the subscriber was given."""
    subscriber, clerk = a_newcomer(), factories.a_user(is_staff=True)

    with pytest.raises(MembershipRightRequired):
        subscribers.change_subscriber_address(
            subscriber=subscriber, email="clerk@example.com", by=clerk, request=rf.get("/")
        )

    subscriber.user = factories.a_user(subscriber.email)  # as invitations once made them
    subscriber.user.set_unusable_password()
    subscriber.user.save()
    subscriber.save()
    with pytest.raises(MembershipRightRequired):
        subscribers.change_subscriber_address(
            subscriber=subscriber, email="clerk@example.com", by=clerk, request=rf.get("/")
        )
    subscriber.memberships.all().delete()
    subscribers.change_subscriber_address(
        subscriber=subscriber, email="clerk@example.com", by=clerk, request=rf.get("/")
    )
