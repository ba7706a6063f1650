import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone

from revcred.actions import credentials, own_credentials
from revcred.actions.permitted_actions import (
    permitted_actions,
    permitted_actions_by_credential,
)
from revcred.models import Assignment, Membership, Product
from tests import factories

KEY = "the-key-of-what-is-permitted"


@pytest.fixture
def customer(db):
    return factories.a_customer("Acme")


@pytest.fixture
def owner(customer):
    return factories.a_subscriber(customer, Membership.Role.OWNER)


def a_credential(customer, **permits):
    product = factories.a_product(**permits)
    subscription = factories.a_subscription(customer, product=product)
    return factories.a_credential(customer, subscriptions=[subscription])


def test_the_installation_and_every_product_permit(customer, settings):
    settings.SUBSCRIBER_ACTIONS = ["rotate", "suspend", "team"]
    free, tied = a_credential(customer), a_credential(customer, subscribers_rotate=False)
    both = a_credential(customer, subscribers_reveal=False)
    for assignment in tied.assignments.all():
        Assignment.objects.create(
            customer=customer,
            credential=both,
            subscription=assignment.subscription,
            active_from=timezone.now(),
        )

    assert permitted_actions(free) == {"reveal", "rotate", "suspend", "team"}
    assert permitted_actions(tied) == {"reveal", "suspend", "team"}
    assert permitted_actions(both) == {"suspend", "team"}


def test_many_credentials_take_one_query(customer, django_assert_num_queries):
    made = [a_credential(customer).pk for _ in range(3)]

    with django_assert_num_queries(1):
        assert len(permitted_actions_by_credential(made)) == 3


@pytest.mark.parametrize(
    ("field", "verb"),
    [("rotate", "rotate"), ("suspend", "suspend"), ("suspend", "resume"), ("revoke", "revoke")],
)
def test_what_a_product_does_not_permit_is_hidden_and_rejected(
    customer, owner, sign_in, field, verb
):
    credential = a_credential(customer, **{f"subscribers_{field}": False})
    browser, arguments = sign_in(owner), [credential.pk]

    page = browser.get(reverse("storefront:credential", args=arguments)).content.decode()

    address = reverse(f"storefront:{verb}", args=arguments)
    assert address not in page
    assert browser.get(address).status_code == 404
    if verb == "suspend":
        with pytest.raises(own_credentials.NotAllowed):
            own_credentials.suspend_own_credential(credential=credential, by=owner.user)


@pytest.mark.django_db(transaction=True)
def test_a_key_that_is_not_shown_is_not_revealed(sign_in):
    customer = factories.a_customer("Acme")
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    credential = a_credential(customer, subscribers_reveal=False, subscribers_rotate=False)
    key, browser = credential.keys.get(), sign_in(owner)
    address = reverse("storefront:reveal_key", args=[credential.pk, key.pk])

    page = browser.get(reverse("storefront:credential", args=[credential.pk])).content.decode()
    answer = browser.post(address, {"password": factories.PASSWORD})

    assert address not in page
    assert answer.status_code == 409
    assert "Your provider does not show this key" in answer.content.decode()
    with pytest.raises(credentials.RevealNotPermitted):
        credentials.reveal_key(key=key, field="value", by=owner.user)


def test_nobody_makes_a_key_that_nobody_sees(db):
    product = Product(name="Maps", external_key="maps", subscribers_reveal=False)

    with pytest.raises(ValidationError, match="has to see it"):
        product.full_clean()


def test_a_description_is_shown_to_who_sees_the_product(customer, owner, sign_in):
    product = factories.a_product(
        description="Tiles of *every* zoom", credential_issuing=Product.CredentialIssuing.REQUEST
    )
    subscription = factories.a_subscription(customer, product=product)
    browser = sign_in(owner)

    for address in (
        reverse("storefront:subscription", args=[subscription.pk]),
        reverse("storefront:new_credential"),
    ):
        assert "Tiles of <em>every</em> zoom" in browser.get(address).content.decode()
