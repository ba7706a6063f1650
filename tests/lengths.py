"""How many of many cases `make test` takes; `make test-long` takes the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_long(values: Iterable[Any], *, quick: int) -> list[Any]:
    """Return the values as parameters, of which all but the first `quick` ones are long tests."""
    return [
        value if number < quick else pytest.param(value, marks=pytest.mark.long)
        for number, value in enumerate(values)
    ]
