from collections.abc import Iterator
from typing import Any

import pytest

from metering.api import authentication


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """The real hasher takes half a second for each user, which is its purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _nothing_remembered_between_tests() -> Iterator[None]:
    """A token admitted in one test is not in the next one's database."""
    yield
    authentication.forget()
