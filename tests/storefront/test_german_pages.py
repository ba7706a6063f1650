"""The storefront in German: no page of it shows a sentence of the English catalogue."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from revcred.models import Membership
from tests import factories
from tests.german_texts import IN_GERMAN, english_texts, shown

KEY, OTHER_KEY = "a-key-of-german-pages", "another-key-of-german-pages"


@pytest.fixture(scope="module")
def english():
    return english_texts()


@pytest.fixture
def pages(customer, owner):
    """Pages of an owner with credentials of several states, calls counted and not, and a team."""
    now = timezone.now()
    gateway = factories.a_gateway("edge")
    subscription = factories.a_subscription(customer, quota=1)
    member = factories.a_subscriber(customer, Membership.Role.MEMBER)
    used = factories.a_credential(customer, KEY, subscriptions=[subscription], holders=[member])
    ended = factories.a_credential(customer, OTHER_KEY)
    expiring = factories.a_credential(
        customer, subscriptions=[subscription], expires_at=now + timedelta(days=9)
    )
    factories.settled(
        factories.a_call(KEY),
        factories.a_call(KEY, ago=timedelta(hours=2)),
        factories.a_call(OTHER_KEY, ago=timedelta(days=1)),
        gateway=gateway,
    )
    membership = member.memberships.get()
    key = used.keys.get()
    names = [
        ("home", []),
        ("credentials", []),
        ("subscriptions", []),
        ("subscription", [subscription.pk]),
        ("usage", []),
        ("calls", []),
        ("team", []),
        ("holders", []),
        ("invite", []),
        ("new_credential", []),
        ("reveal_key", [used.pk, key.pk]),
        *[("credential", [credential.pk]) for credential in (used, ended, expiring)],
        *[(action, [used.pk]) for action in ("rotate", "suspend", "revoke")],
        *[(f"member_{action}", [membership.pk]) for action in ("role", "remove", "hand-over")],
    ]
    accounts = ("change_password", "sessions", "time_zone", "company_sign_in", "request_login_code")
    return [
        *[reverse(f"storefront:{name}", args=args) for name, args in names],
        reverse("storefront:usage") + "?by=gateway&span=year",
        *[reverse(f"account_{name}") for name in accounts],
        reverse("mfa_index"),
        "/nothing/here/",
    ]


def test_pages_are_german(pages, owner, english):
    browser = Client(**IN_GERMAN)
    browser.force_login(owner.user)
    left = {}
    for page in pages:
        answer = browser.get(page, follow=True)
        assert answer.status_code in {200, 404}
        assert '<html lang="de">' in answer.content.decode()
        if found := english.findall(shown(answer)):
            left[page] = found

    assert left == {}


@pytest.mark.django_db
def test_pages_before_signing_in_are_german(english):
    browser = Client(**IN_GERMAN)
    for name in ("login", "reset_password", "reset_password_done", "company_sign_in"):
        answer = browser.get(reverse(f"account_{name}"))
        assert english.findall(shown(answer)) == []
        assert "Accept-Language" in answer["Vary"]
        # What is looked for is found where a page is English.
        assert english.findall(shown(Client().get(reverse(f"account_{name}"))))
