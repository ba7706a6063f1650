from collections.abc import Iterator

import pytest

from metering.api import authentication


@pytest.fixture(autouse=True)
def _nothing_remembered_between_tests() -> Iterator[None]:
    """A token admitted in one test is not in the next one's database."""
    yield
    authentication.forget()
