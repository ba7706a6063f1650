"""What is counted in what others send: numbers, and numbers written as text."""

import math
import re
from collections.abc import Collection
from decimal import Decimal
from typing import Any

import msgspec

from metering.api.decoding import Refused
from metering.api.transactions import FINEST_QUANTITY, MOST_ELEMENTS, MOST_QUANTITY

LONGEST_NAME = 100
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
NOT_A_QUANTITY = "A quantity is a number, zero or more and below 10^18."


def _exact(text: str) -> Decimal:
    if math.isinf(float(text)):
        raise ValueError(text)
    return Decimal(text) if NUMBER.fullmatch(text) else Decimal(repr(float(text)))


_decode = msgspec.json.Decoder(float_hook=_exact).decode


def values_of(data: msgspec.Raw, field: str = "data") -> Any:
    """What this JSON says, its decimals exact. Raises Refused."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise Refused(field, "invalid", "It is not JSON that can be kept.") from error
    except RecursionError as error:
        raise Refused(field, "too_deep", "It is nested too deeply.") from error


def quantity(value: Any) -> int | Decimal | None:
    """To nine decimal places; None if it is not zero or more and below 10^18."""
    if isinstance(value, str):
        value = _number(value)
    elif isinstance(value, float):
        value = Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if not 0 <= value < MOST_QUANTITY:
        return None
    if isinstance(value, int):
        return value
    rounded = value.quantize(FINEST_QUANTITY)
    return int(rounded) if rounded == int(rounded) else rounded.normalize()


def _number(text: str) -> int | Decimal | None:
    if not NUMBER.fullmatch(text):
        return None
    return int(text) if text.isdigit() else Decimal(text)


def elements_of(data: Any, named: Collection[str] = ()) -> dict[str, int | Decimal]:
    """The members that are named, or else all that are quantities. Raises Refused."""
    if not isinstance(data, dict):
        return {}
    if named:
        return _named(data, named)
    found = {
        name: counted
        for name, value in data.items()
        if 0 < len(name) <= LONGEST_NAME and (counted := quantity(value)) is not None
    }
    if len(found) > MOST_ELEMENTS:
        message = f"More than {MOST_ELEMENTS} numbers are in it. Have the gateway's elements named."
        raise Refused("data", "too_many", message)
    return found


def _named(data: dict[str, Any], names: Collection[str]) -> dict[str, int | Decimal]:
    found = {}
    for name in names:
        value = _at(data, name)
        if value is None:
            continue
        counted = quantity(value)
        if counted is None:
            raise Refused(f"data.{name}", "invalid", NOT_A_QUANTITY)
        found[name] = counted
    return found


def _at(data: Any, path: str) -> Any:
    """The member of that name, or further in by names with dots between them."""
    if not isinstance(data, dict):
        return None
    if path in data:
        return data[path]
    name, _, rest = path.partition(".")
    return _at(data.get(name), rest) if rest else None
