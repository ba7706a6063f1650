from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from revcred.models import Membership, Product
from tests import factories

HOME = "storefront:home"


def text_of(answer):
    return " ".join(answer.content.decode().split())


def test_staff_who_are_no_subscribers_are_shown_the_way(sign_in):
    page = text_of(sign_in(factories.a_user(is_staff=True)).get(reverse(HOME)))

    assert "No customer yet" in page
    assert 'href="/admin/"' in page


def test_a_user_of_no_customer_is_told_whom_to_ask(sign_in):
    page = text_of(sign_in(factories.a_user()).get(reverse(HOME)))

    assert "No customer yet" in page
    assert "/admin/" not in page


def test_roles_are_told(sign_in):
    customer = factories.a_customer("Acme")
    viewer = factories.a_subscriber(customer, Membership.Role.VIEWER)

    assert 'Acme <span class="faint">(viewer)</span>' in text_of(sign_in(viewer).get(reverse(HOME)))


@pytest.mark.parametrize("rows", [1, 3])
def test_it_asks_the_same_number_of_questions(sign_in, rows, django_assert_num_queries):
    customer = factories.a_customer()
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    browser = sign_in(owner)
    for _ in range(rows):
        subscription = factories.a_subscription(customer)
        credential = factories.a_credential(
            customer,
            subscriptions=[subscription],
            holders=[owner],
            expires_at=timezone.now() + timedelta(days=2),
        )
        credential.keys.update(active_until=timezone.now() + timedelta(days=1))

    with django_assert_num_queries(20):
        browser.get(reverse(HOME))


def test_who_has_nothing_yet_is_told_the_next_step(sign_in):
    customer = factories.a_customer()
    owner = factories.a_subscriber(customer, Membership.Role.OWNER, "olga@example.com")
    member = factories.a_subscriber(customer)

    assert "Ask whoever provides your API for one." in text_of(sign_in(owner).get(reverse(HOME)))
    assert "Ask olga@example.com to have you made" in text_of(sign_in(member).get(reverse(HOME)))
    product = factories.a_product(credential_issuing=Product.CredentialIssuing.SUBSCRIBER)
    factories.a_subscription(customer, product=product)
    for person in (owner, member):
        page = text_of(sign_in(person).get(reverse(HOME)))
        assert reverse("storefront:new_credential") in page
