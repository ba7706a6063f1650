"""A new sign-in address counts once it is confirmed from there, whoever asked for it."""

import re

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import authenticate
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from revcred.actions import addresses
from revcred.actions.addresses import AddressChangeNotOpen, AddressTaken
from revcred.actions.users import AddressOfStaff, AddressOfSubscriber, LoginRankTooHigh
from revcred.models import AddressChange, AuditEvent, Membership, Subscriber, User
from revcred.models.users import ADDRESS_CHANGE_LIFETIME
from tests import factories

pytestmark = pytest.mark.django_db

OLD, NEW = "old@example.com", "new@example.com"


@pytest.fixture
def request_(rf):
    return rf.get("/admin/")


@pytest.fixture
def support():
    """Staff with the right to change subscribers, which the pages ask for, and nothing else."""
    return factories.a_user("support@example.com", is_staff=True)


@pytest.fixture
def ann():
    return factories.a_subscriber(factories.a_customer("Acme"), email=OLD)


@pytest.fixture
def ask(ann, support, request_, sent_mail):
    """Ask for another address, and return the links that the new and the old one were sent."""

    def asked(user=None, email=NEW, by=support):
        before = len(sent_mail())
        addresses.request_address_change(
            user=user or ann.user, email=email, by=by, request=request_
        )
        to_new, to_old = sent_mail()[before:]
        assert (to_new.to, to_old.to) == ([email.lower()], [(user or ann.user).email])
        return link_in(to_new), link_in(to_old)

    return asked


def link_in(sent):
    (link,) = re.findall(r"http://testserver(\S+)", sent.body)
    return link


def post(client, link, **said):
    page = client.get(link, follow=True)
    return client.post(page.request["PATH_INFO"], said)


def text_of(page):
    return " ".join(page.content.decode().split())


def test_until_it_is_confirmed_nothing_changes(ann, ask):
    ask()

    ann.refresh_from_db()
    assert (ann.email, ann.user.email) == (OLD, OLD)
    assert authenticate(email=OLD, password=factories.PASSWORD)
    assert not authenticate(email=NEW, password=factories.PASSWORD)


def test_opening_the_link_confirms_nothing(client, ann, ask):
    """As programs do that look through mails."""
    link, _ = ask()

    client.get(link, follow=True)

    assert User.objects.get(pk=ann.user_id).email == OLD


def test_link_and_password_confirm_it(client, ann, ask, sent_mail):
    owner = factories.a_subscriber(ann.customers.get(), Membership.Role.OWNER)
    link, _ = ask(email="New@example.com")
    before = len(sent_mail())

    page = post(client, link, password=factories.PASSWORD)

    assert "Your address is confirmed" in text_of(page)
    ann.refresh_from_db()
    assert (ann.email, ann.user.email) == (NEW, NEW)
    assert [each.email for each in EmailAddress.objects.filter(user=ann.user)] == [NEW]
    assert authenticate(email=NEW, password=factories.PASSWORD)
    assert not authenticate(email=OLD, password=factories.PASSWORD)
    assert sorted((each.to[0], each.subject) for each in sent_mail()[before:]) == [
        (OLD, "Your sign-in address was changed"),
        (owner.email, "A member of Acme has a new address"),
    ]


def test_without_the_password_the_link_confirms_nothing(client, ann, ask):
    """Or else whoever changes an address to the own one had the login."""
    link, _ = ask()

    assert "Incorrect password" in text_of(post(client, link, password="not it"))
    post(client, link)

    assert User.objects.get(pk=ann.user_id).email == OLD
    failed = AuditEvent.objects.filter(verb="sign_in_failed")
    assert [each.target for each in failed] == [OLD]


def test_guessing_that_password_is_limited(client, ann, ask):
    link, _ = ask()
    for _ in range(5):
        post(client, link, password="not it")

    post(client, link, password=factories.PASSWORD)

    assert User.objects.get(pk=ann.user_id).email == OLD


def test_a_superuser_may_spare_the_password(client, ann, ask):
    link, _ = ask(by=factories.a_user(is_staff=True, is_superuser=True))

    post(client, link)

    assert User.objects.get(pk=ann.user_id).email == NEW


def test_a_link_works_once(client, ann, ask):
    link, _ = ask()
    post(client, link, password=factories.PASSWORD)

    assert client.get(link, follow=True).status_code == 409


def test_a_link_is_valid_for_three_days(client, ann, ask):
    link, _ = ask()
    AddressChange.objects.update(asked_at=timezone.now() - ADDRESS_CHANGE_LIFETIME)

    assert client.get(link, follow=True).status_code == 409


def test_asking_anew_leaves_the_first_link_void(client, ann, ask):
    first, _ = ask(email="typo@example.com")
    second, _ = ask()

    assert client.get(first, follow=True).status_code == 409
    post(client, second, password=factories.PASSWORD)
    assert User.objects.get(pk=ann.user_id).email == NEW


def test_asking_for_the_present_address_cancels(ann, ask, support, request_):
    ask()

    assert not addresses.request_address_change(
        user=ann.user, email=OLD, by=support, request=request_
    )

    assert not AddressChange.objects.open().exists()


def test_the_old_address_can_stop_it(client, ann, ask):
    link, stop = ask()

    client.get(stop, follow=True)
    assert AddressChange.objects.open().exists()
    page = post(client, stop)

    assert "The new address is cancelled" in text_of(page)
    assert client.get(link, follow=True).status_code == 409
    verbs = AuditEvent.objects.about(ann.user).values_list("verb", "actor", "address")
    assert verbs[0] == ("address_cancelled", "", "127.0.0.1")


def test_links_do_not_stand_for_each_other(client, ask):
    confirm, stop = ask()
    token = stop.split("/")[-2]

    assert client.get(confirm.rsplit("/", 2)[0] + f"/{token}/", follow=True).status_code == 409


def test_staff_may_cancel_it_but_not_that_of_an_equal(ann, ask, support, request_):
    ask()
    change = AddressChange.objects.get()
    addresses.cancel_address_change(change=change, by=support, request=request_)
    with pytest.raises(AddressChangeNotOpen):
        addresses.cancel_address_change(change=change, by=support, request=request_)

    boss = factories.a_user(is_staff=True, is_superuser=True)
    ask(user=boss, by=boss)
    with pytest.raises(LoginRankTooHigh):
        addresses.cancel_address_change(
            change=AddressChange.objects.open().get(), by=support, request=request_
        )


def test_it_is_on_record_who_asked_and_who_confirmed(client, ann, ask, support):
    link, _ = ask()
    post(client, link, password=factories.PASSWORD)

    events = [
        (event.verb, event.actor, factories.details_of(event), event.address)
        for event in AuditEvent.objects.about(ann.user)
    ]
    details = {"address": f"{OLD} → {NEW}"}
    assert events == [
        ("address_changed", NEW, details, "127.0.0.1"),
        ("address_asked", support.email, details, "127.0.0.1"),
    ]


def test_links_for_a_password_that_the_old_address_was_sent_are_void(client, ann, ask, sent_mail):
    client.post(reverse("account_reset_password"), {"email": OLD})
    reset = link_in(sent_mail()[-1])
    link, _ = ask()
    post(client, link, password=factories.PASSWORD)

    assert "This link is no longer valid" in text_of(client.get(reset, follow=True))


# --- Sessions and reveals -------------------------------------------------------------------------


def signed_in(email, password=factories.PASSWORD):
    browser = Client()
    browser.post(reverse("account_login"), {"login": email, "password": password})
    return browser


def test_all_sessions_of_the_person_end_and_no_others(client, ann, ask):
    browsers = [signed_in(OLD), signed_in(OLD)]
    other = signed_in(factories.a_subscriber().email)
    link, _ = ask()

    post(client, link, password=factories.PASSWORD)

    home = reverse("storefront:home")
    assert [each.get(home).status_code for each in browsers] == [302, 302]
    assert other.get(home).status_code == 200
    assert signed_in(NEW).get(home).status_code == 200


def test_reveals_rest_until_the_person_has_signed_in_and_confirmed(client, ann, ask):
    key = "canary-key-that-sings-K9w2"
    credential = factories.a_credential(ann.customers.get(), key=key, holders=[ann])
    reveal = reverse("storefront:reveal_key", args=[credential.pk, credential.keys.get().pk])
    link, _ = ask()
    post(client, link, password=factories.PASSWORD)
    browser = signed_in(NEW)

    page = browser.post(reveal, {"password": factories.PASSWORD})
    assert page.status_code == 409
    assert "Your sign-in address was changed" in text_of(page)
    assert key not in text_of(page)
    known = reverse("account_resume_reveals")
    assert "Incorrect password" in text_of(browser.post(known, {"password": "not it"}))
    assert browser.post(reveal, {"password": factories.PASSWORD}).status_code == 409

    browser.post(known, {"password": factories.PASSWORD})

    assert key in text_of(browser.post(reveal, {"password": factories.PASSWORD}))
    verbs = AuditEvent.objects.about(ann.user).values_list("verb", flat=True)
    assert "reveals_resumed" in verbs


def test_nobody_confirms_without_being_signed_in(client):
    answer = client.post(reverse("account_resume_reveals"), {"password": factories.PASSWORD})

    assert answer["Location"].startswith(reverse("account_login"))


# --- Whose, by whom -------------------------------------------------------------------------------


@pytest.mark.parametrize("rights", [{}, {"is_staff": True}])
def test_an_address_that_somebody_has_is_not_asked_for(ann, support, request_, rights):
    factories.a_user(NEW, **rights)

    with pytest.raises(AddressOfStaff if rights else AddressTaken):
        addresses.request_address_change(
            user=ann.user, email=NEW.upper(), by=support, request=request_
        )


def test_nor_one_that_a_subscriber_has(ann, support, request_):
    Subscriber.objects.create(email=NEW)
    staff = factories.a_user(is_staff=True)
    boss = factories.a_user(is_staff=True, is_superuser=True)

    with pytest.raises(AddressTaken):
        addresses.request_address_change(user=ann.user, email=NEW, by=support, request=request_)
    with pytest.raises(AddressOfSubscriber):
        addresses.request_address_change(user=staff, email=NEW, by=boss, request=request_)


@pytest.mark.parametrize("taker", ["user", "staff", "subscriber"])
def test_an_address_that_was_taken_meanwhile_is_not_confirmed(client, ann, ask, taker):
    link, _ = ask()
    if taker == "subscriber":
        Subscriber.objects.create(email=NEW)
    else:
        factories.a_user(NEW, is_staff=taker == "staff")

    page = post(client, link, password=factories.PASSWORD)

    assert page.status_code == 409
    ann.refresh_from_db()
    assert (ann.email, ann.user.email) == (OLD, OLD)


@pytest.mark.parametrize("rights", [{"is_staff": True}, {"is_superuser": True}])
def test_staff_addresses_are_for_superusers(support, request_, rights):
    other = factories.a_user(**rights)

    with pytest.raises(LoginRankTooHigh):
        addresses.request_address_change(user=other, email=NEW, by=support, request=request_)


def test_no_superuser_asks_for_another_of_another(request_):
    one, other = (factories.a_user(is_staff=True, is_superuser=True) for _ in range(2))

    with pytest.raises(LoginRankTooHigh):
        addresses.request_address_change(user=other, email=NEW, by=one, request=request_)


def test_a_superuser_changes_the_own_with_the_own_password(client, ask):
    boss = factories.a_user("boss@example.com", is_staff=True, is_superuser=True)
    link, _ = ask(user=boss, by=boss)

    post(client, link)
    assert User.objects.get(pk=boss.pk).email == "boss@example.com"
    post(client, link, password=factories.PASSWORD)
    assert User.objects.get(pk=boss.pk).email == NEW
