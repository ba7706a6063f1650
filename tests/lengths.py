"""How many of many cases `make test` takes; `make test-long` takes the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_long(values: Iterable[Any], *, quick: int) -> list[Any]:
    """Return the values as parameters, of which all but the first `quick` ones are long tests."""
    return [value if number < quick else _as_long(value) for number, value in enumerate(values)]


def sampled(values: Iterable[Any], *, every: int) -> list[Any]:
    """Return the values as parameters, of which all but each `every`-th one are long tests.

    Where one list after another is in the values, some of each are quick.
    """
    return [
        value if number % every == 0 else _as_long(value) for number, value in enumerate(values)
    ]


def _as_long(value: Any) -> Any:
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.long)
