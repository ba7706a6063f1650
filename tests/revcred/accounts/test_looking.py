from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from revcred.accounts import looking
from revcred.accounts.looking import SESSION_ENTRY
from revcred.models import AuditEvent, AuditVerb, Membership, Subscriber, User
from revcred.roles import READY_MADE_ROLES
from tests import factories

HOME = "storefront:home"


@pytest.fixture
def customer(db):
    return factories.a_customer("Fleet maps")


@pytest.fixture
def subscriber(customer):
    return factories.a_subscriber(customer, Membership.Role.OWNER)


@pytest.fixture
def look(admin_client, subscriber):
    """A browser of staff who looks as the subscriber."""
    response = admin_client.post(reverse("admin:revcred_subscriber_look", args=[subscriber.pk]))
    assert response["Location"] == reverse(HOME)
    return admin_client


def test_staff_sees_what_the_subscriber_sees_and_it_is_on_record(look, subscriber):
    page = look.get(reverse(HOME)).content.decode()

    assert "You see what" in page
    assert subscriber.email in page
    event = AuditEvent.objects.get(verb=AuditVerb.LOOK_BEGAN)
    assert (event.target, bool(event.details["until"])) == (str(subscriber), True)


def test_nothing_can_be_changed_or_revealed(look, customer):
    credential = factories.a_credential(customer, key="a-key-that-nobody-sees")
    key = credential.keys.get()

    for name, arguments in (
        ("reveal_key", [credential.pk, key.pk]),
        ("rotate", [credential.pk]),
        ("suspend", [credential.pk]),
        ("invite", []),
        ("credentials", []),
    ):
        answer = look.post(reverse(f"storefront:{name}", args=arguments), {"password": "x"})
        assert answer.status_code == 403, name
        assert "Nothing can be changed here" in answer.content.decode()
    page = look.get(reverse("storefront:reveal_key", args=[credential.pk, key.pk]))
    assert page.status_code == 403
    assert not AuditEvent.objects.reveals().exists()


def test_pages_outside_of_the_storefront_stay_those_of_the_staff(look, admin_user):
    page = look.get(reverse("account_sessions"))

    assert page.wsgi_request.user == admin_user
    assert look.get(reverse("admin:index")).status_code == 200


def test_nobody_signs_in_at_a_company_meanwhile(look, admin_user):
    for name, arguments in (
        ("account_company_sign_in", []),
        ("account_confirm_at_company", []),
        ("openid_connect_callback", ["company-1"]),
    ):
        answer = look.get(reverse(name, args=arguments))
        assert answer.status_code == 403, name
        assert "Nothing can be changed here" in answer.content.decode()
    assert look.session["_auth_user_id"] == str(admin_user.pk)


def test_it_ends_by_the_button(look, subscriber):
    answer = look.post(reverse("account_end_look"))

    assert answer["Location"] == reverse("admin:revcred_subscriber_change", args=[subscriber.pk])
    assert SESSION_ENTRY not in look.session
    assert AuditEvent.objects.filter(verb=AuditVerb.LOOK_ENDED).exists()
    assert "You see what" not in look.get(reverse(HOME)).content.decode()


def test_it_ends_by_itself(look, monkeypatch):
    later = timezone.now() + looking.LOOK_PERIOD + timedelta(seconds=1)
    monkeypatch.setattr(looking.timezone, "now", lambda: later)

    page = look.get(reverse(HOME))

    assert "You no longer look as a subscriber" in page.content.decode()
    assert SESSION_ENTRY not in look.session


def test_it_ends_with_the_login(look, subscriber):
    User.objects.filter(pk=subscriber.user_id).update(is_active=False)

    look.get(reverse(HOME))

    assert SESSION_ENTRY not in look.session


def test_somebody_without_a_login_cannot_be_looked_as(admin_client):
    subscriber = Subscriber.objects.create(email="new@example.com")
    url = reverse("admin:revcred_subscriber_look", args=[subscriber.pk])

    assert "has no login" in admin_client.post(url).content.decode()


def test_the_right_is_of_its_own():
    able = {role.name for role in READY_MADE_ROLES if "revcred.look_as_subscriber" in role.rights}

    assert able == {"Support", "Administrator"}
