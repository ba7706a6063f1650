import pytest
from django.db import IntegrityError

from revcred.models import Subscriber, User
from tests import factories

pytestmark = pytest.mark.django_db


def test_an_address_is_kept_in_lower_case():
    assert User.objects.create_user(" Ann@Example.COM ").email == "ann@example.com"


def test_an_address_is_one_user_in_whatever_case():
    factories.a_user("ann@example.com")

    with pytest.raises(IntegrityError, match="user_email_any_case"):
        User.objects.create(email="Ann@example.com")


def test_an_address_is_one_subscriber_in_whatever_case():
    factories.a_subscriber(email="ann@example.com")

    with pytest.raises(IntegrityError, match="subscriber_email_any_case"):
        Subscriber.objects.create(email="Ann@example.com")


def test_a_user_is_found_in_whatever_case():
    user = factories.a_user("ann@example.com")

    assert User.objects.get_by_natural_key("ANN@example.com") == user


def test_without_a_password_nobody_signs_in():
    assert not User.objects.create_user("ann@example.com").has_usable_password()


def test_a_superuser_is_staff():
    user = User.objects.create_superuser("ann@example.com", "a password")

    assert (user.is_staff, user.is_superuser) == (True, True)


def test_a_user_is_called_by_name_or_else_by_address():
    named, unnamed = User(email="a@example.com", name="Ann"), User(email="b@example.com")

    assert (named.get_full_name(), named.get_short_name()) == ("Ann", "Ann")
    assert (unnamed.get_full_name(), unnamed.get_short_name()) == ("b@example.com",) * 2
