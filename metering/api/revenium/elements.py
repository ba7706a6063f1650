"""What is counted among the values that a client names: the numbers, also those sent as text."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from metering.api.decoding import Refused
from metering.api.facts import NOTHING
from metering.api.quantities import LONGEST_NAME, quantity
from metering.api.transactions import MOST_ELEMENTS

Elements = dict[str, int | Decimal]


def counted(
    values: Iterable[tuple[str, Any]], *, rounded: bool = False
) -> tuple[Elements, dict[str, Any]]:
    """The numbers, and the rest as it is. Raises Refused."""
    elements: Elements = {}
    rest: dict[str, Any] = {}
    for name, value in values:
        number = quantity(value, name, rounded=rounded)
        if number is not None:
            elements[_checked(name)] = number
        else:
            rest[name] = value
    if len(elements) > MOST_ELEMENTS:
        raise Refused(None, "too_many", f"More than {MOST_ELEMENTS} elements are named.")
    return elements, rest


def amounts(said: Mapping[str, Any], names: Iterable[str]) -> Elements:
    """Those of these members that are there, of money to nine decimal places. Raises Refused."""
    named = ((name, said[name]) for name in names if said.get(name) is not None)
    elements, texts = counted(named, rounded=True)
    for name, text in texts.items():
        if not isinstance(text, str) or text not in NOTHING:
            raise Refused(name, "invalid", "It is not a number.")
    return elements


def _checked(name: str) -> str:
    if not 0 < len(name) <= LONGEST_NAME:
        message = f"An element's name has from 1 to {LONGEST_NAME} characters."
        raise Refused(name[:LONGEST_NAME], "invalid", message)
    return name
