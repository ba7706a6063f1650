"""Elements of Revenium's clients: the numbers among the values that they send, also as text."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from metering.api.decoding import ItemRejected
from metering.api.facts import NO_VALUE_TEXTS
from metering.api.quantities import parse_quantity
from metering.inbox.quantities import MAX_ELEMENT_NAME_CHARACTERS, MAX_ELEMENTS_PER_CALL

ElementQuantities = dict[str, int | Decimal]


def split_elements(
    values: Iterable[tuple[str, Any]], *, rounded: bool = False
) -> tuple[ElementQuantities, dict[str, Any]]:
    """Return the values that are numbers as elements, and all others unchanged.

    Raises:
        ItemRejected: a number cannot be counted, or there are more than MAX_ELEMENTS_PER_CALL.
    """
    elements: ElementQuantities = {}
    rest: dict[str, Any] = {}
    for name, value in values:
        if name in elements or name in rest:
            raise ItemRejected(
                name[:MAX_ELEMENT_NAME_CHARACTERS], "duplicate_field", "It is there twice."
            )
        number = parse_quantity(value, name, rounded=rounded)
        if number is not None:
            elements[_checked_element_name(name)] = number
        else:
            rest[name] = value
    if len(elements) > MAX_ELEMENTS_PER_CALL:
        raise ItemRejected(None, "too_many", f"It has more than {MAX_ELEMENTS_PER_CALL} elements.")
    return elements, rest


def read_amounts(data: Mapping[str, Any], names: Iterable[str]) -> ElementQuantities:
    """Return the named members as elements, rounded to nine decimal places.

    Raises:
        ItemRejected: one of them is no number.
    """
    values = ((name, data[name]) for name in names if data.get(name) is not None)
    elements, texts = split_elements(values, rounded=True)
    # These names are known to mean amounts: unlike in an event's payload, a text is a mistake.
    for name, text in texts.items():
        if not isinstance(text, str) or text not in NO_VALUE_TEXTS:
            raise ItemRejected(name, "invalid", "It is not a number.")
    return elements


def _checked_element_name(name: str) -> str:
    if not 0 < len(name) <= MAX_ELEMENT_NAME_CHARACTERS:
        message = f"An element's name has from 1 to {MAX_ELEMENT_NAME_CHARACTERS} characters."
        raise ItemRejected(name[:MAX_ELEMENT_NAME_CHARACTERS], "invalid", message)
    return name
