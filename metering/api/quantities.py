"""What is counted in what others send: numbers, and numbers written as text."""

import math
import re
from collections.abc import Collection
from decimal import Context, Decimal
from typing import Any

import msgspec

from metering.api.decoding import Refused
from metering.api.transactions import FINEST_QUANTITY, MOST_DIGITS, MOST_ELEMENTS, MOST_QUANTITY

LONGEST_NAME = 100
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
NOT_A_QUANTITY = "A quantity is a number, zero or more and below 10^18."
OUT_OF_RANGE = "A quantity is zero or more and below 10^18."
TOO_FINE = "A quantity has at most nine decimal places."
# What JSON of others has for no number.
NOT_FINITE = {"NaN", "Infinity", "-Infinity", "inf", "-inf", "nan"}
IN_A_DOUBLE = Context(prec=15)  # digits of a double that mean something


def exact(text: str) -> Decimal:
    """A number of JSON with all its digits; one beyond any double is infinite."""
    if math.isinf(float(text)):
        return Decimal(float(text))
    return Decimal(text) if NUMBER.fullmatch(text) else Decimal(repr(float(text)))


_decode = msgspec.json.Decoder(float_hook=exact).decode


def values_of(data: msgspec.Raw, field: str = "data") -> Any:
    """What this JSON says, its decimals exact. Raises Refused."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise Refused(field, "invalid", "It is not JSON that can be kept.") from error
    except RecursionError as error:
        raise Refused(field, "too_deep", "It is nested too deeply.") from error


def quantity(value: Any, field: str, *, rounded: bool = False) -> int | Decimal | None:
    """Return how much it is, and None if it is no number at all.

    The 16th digit of a double is noise, and 0.30000000000000004 is 0.3. `rounded`: of an amount of
    money, whatever is finer than nine decimal places is.

    Raises:
        Refused: it is a number, but negative, too large or too fine to be counted.
    """
    if isinstance(value, str):
        if value in NOT_FINITE:
            raise Refused(field, "invalid", NOT_A_QUANTITY)
        value = _number(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(field, "invalid", NOT_A_QUANTITY)
        value = Decimal(repr(value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if not 0 <= value < MOST_QUANTITY:
        raise Refused(field, "out_of_range", OUT_OF_RANGE)
    if isinstance(value, int):
        return value
    finest = value.quantize(FINEST_QUANTITY)
    if not rounded and finest != value and IN_A_DOUBLE.plus(value) != finest:
        raise Refused(field, "too_fine", TOO_FINE)
    return int(finest) if finest == int(finest) else finest.normalize()


def _number(text: str) -> int | Decimal | None:
    if not NUMBER.fullmatch(text):
        return None
    return int(text) if text.isdigit() else Decimal(text)


def elements_of(data: Any, named: Collection[str] = ()) -> dict[str, int | Decimal]:
    """The members that are named, or else all that are numbers. Raises Refused."""
    if not isinstance(data, dict):
        return {}
    if named:
        return _named(data, named)
    found = {
        name: counted
        for name, value in data.items()
        if 0 < len(name) <= LONGEST_NAME
        and not _is_long_id(value)
        and (counted := quantity(value, f"data.{name}")) is not None
    }
    if len(found) > MOST_ELEMENTS:
        message = f"More than {MOST_ELEMENTS} numbers are in it. Have the gateway's elements named."
        raise Refused("data", "too_many", message)
    return found


def _is_long_id(value: Any) -> bool:
    """Nobody writes a quantity of 19 digits as text where nothing says that it is one."""
    return isinstance(value, str) and value.isdigit() and len(value) > MOST_DIGITS


def _named(data: dict[str, Any], names: Collection[str]) -> dict[str, int | Decimal]:
    found = {}
    for name in names:
        value = _at(data, name)
        if value is None:
            continue
        counted = quantity(value, f"data.{name}")
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
