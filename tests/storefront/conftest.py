import pytest
from django.test import Client

from revcred.models import User


def _signed_in(somebody) -> Client:
    client = Client()
    client.force_login(somebody if isinstance(somebody, User) else somebody.user)
    return client


@pytest.fixture
def sign_in(db):
    """A browser in which this user or subscriber has just signed in."""
    return _signed_in
