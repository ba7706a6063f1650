import pytest

from revcred.models import Membership, Subscription
from tests import factories

pytestmark = pytest.mark.django_db

Role = Membership.Role


@pytest.fixture
def customer():
    return factories.a_customer()


def sees(subscriber):
    return set(Subscription.objects.visible_to(subscriber.user))


def test_an_owner_sees_all_of_the_customer(customer):
    subscription = factories.a_subscription(customer)
    factories.a_subscription()

    assert sees(factories.a_subscriber(customer, Role.OWNER)) == {subscription}


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_others_see_what_their_credentials_feed(customer, role):
    subscriber = factories.a_subscriber(customer, role)
    fed, _ = factories.a_subscription(customer), factories.a_subscription(customer)
    factories.a_credential(customer, subscriptions=[fed], holders=[subscriber])

    assert sees(subscriber) == {fed}


def test_one_that_two_credentials_feed_is_seen_once(customer):
    subscriber = factories.a_subscriber(customer)
    fed = factories.a_subscription(customer)
    for _ in range(2):
        factories.a_credential(customer, subscriptions=[fed], holders=[subscriber])

    assert list(Subscription.objects.visible_to(subscriber.user)) == [fed]


def test_who_has_left_the_customer_sees_nothing(customer):
    subscriber = factories.a_subscriber(customer)
    fed = factories.a_subscription(customer)
    factories.a_credential(customer, subscriptions=[fed], holders=[subscriber])

    subscriber.memberships.all().delete()

    assert sees(subscriber) == set()


def test_it_is_called_by_its_name_or_else_its_key():
    assert str(Subscription(name="Maps", external_key="s-1")) == "Maps"
    assert str(Subscription(external_key="s-1")) == "s-1"
