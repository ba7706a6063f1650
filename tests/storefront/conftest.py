"""A customer, its owner, and the owner's browser, for all tests of the storefront."""

import pytest

from revcred.models import Membership
from tests import factories


@pytest.fixture
def customer(db):
    return factories.a_customer("Acme")


@pytest.fixture
def owner(customer):
    return factories.a_subscriber(customer, Membership.Role.OWNER)


@pytest.fixture
def browser(owner, sign_in):
    return sign_in(owner)
