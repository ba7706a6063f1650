"""What is counted in what others send: numbers, and numbers written as text."""

import math
import re
from collections.abc import Collection
from decimal import Context, Decimal
from typing import Any

import msgspec

from metering.api.decoding import ItemRejected, refuse_doubled
from metering.api.transactions import (
    MAX_ELEMENTS_PER_CALL,
    MAX_QUANTITY_DIGITS,
    QUANTITY_PRECISION,
    QUANTITY_UPPER_BOUND,
)

MAX_ELEMENT_NAME_CHARACTERS = 100
NUMBER_PATTERN = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
NUMBER_OF_ANY_LENGTH = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
NOT_A_QUANTITY = "A quantity is a number, zero or more and below 10^18."
OUT_OF_RANGE = "A quantity is zero or more and below 10^18."
TOO_FINE = "A quantity has at most nine decimal places."
# What programs write for no number, each language in its own way.
NON_FINITE_TEXTS = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
DOUBLE_PRECISION = Context(prec=15)  # digits of a double that mean something


def exact_decimal(text: str) -> Decimal:
    """A number of JSON with all its digits; one beyond any double is infinite."""
    if math.isinf(float(text)):
        return Decimal(float(text))
    return Decimal(text) if NUMBER_PATTERN.fullmatch(text) else Decimal(repr(float(text)))


_decode_exactly = msgspec.json.Decoder(float_hook=exact_decimal).decode


def decode_exact_values(data: msgspec.Raw, field: str = "data") -> Any:
    """What this JSON says, its decimals exact. Raises ItemRejected."""
    try:
        values = _decode_exactly(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ItemRejected(field, "invalid", "It is not JSON that can be kept.") from error
    except RecursionError as error:
        raise ItemRejected(field, "too_deep", "It is nested too deeply.") from error
    refuse_doubled(bytes(data), values)
    return values


def parse_quantity(value: Any, field: str, *, rounded: bool = False) -> int | Decimal | None:
    """Return how much it is, and None if it is no number at all.

    The 16th digit of a double is noise, and 0.30000000000000004 is 0.3. `rounded`: of an amount of
    money, whatever is finer than nine decimal places is.

    Raises:
        Refused: it is a number, but negative, too large or too fine to be counted.
    """
    if isinstance(value, str):
        if NON_FINITE_TEXTS.fullmatch(value):
            raise ItemRejected(field, "invalid", NOT_A_QUANTITY)
        value = _parse_number(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ItemRejected(field, "invalid", NOT_A_QUANTITY)
        value = Decimal(repr(value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if not 0 <= value < QUANTITY_UPPER_BOUND:
        raise ItemRejected(field, "out_of_range", OUT_OF_RANGE)
    if isinstance(value, int):
        return value
    finest = value.quantize(QUANTITY_PRECISION)
    if not rounded and finest != value and DOUBLE_PRECISION.plus(value) != finest:
        raise ItemRejected(field, "too_fine", TOO_FINE)
    if finest >= QUANTITY_UPPER_BOUND:
        raise ItemRejected(field, "out_of_range", OUT_OF_RANGE)
    return int(finest) if finest == int(finest) else finest.normalize()


def _parse_number(text: str) -> int | Decimal | None:
    if NUMBER_PATTERN.fullmatch(text):
        return int(text) if text.isdigit() else Decimal(text)
    return exact_decimal(text) if NUMBER_OF_ANY_LENGTH.fullmatch(text) else None


def elements_of(
    data: Any, named: Collection[str] = (), *, within: str = "data."
) -> dict[str, int | Decimal]:
    """The members that are named, or else all that are numbers. Raises ItemRejected.

    `within`: how a reason calls what they are members of.
    """
    if not isinstance(data, dict):
        return {}
    if named:
        return _named_elements(data, named, within)
    found = {
        name: counted
        for name, value in data.items()
        if 0 < len(name) <= MAX_ELEMENT_NAME_CHARACTERS
        and not is_long_id(value)
        and (counted := parse_quantity(value, f"{within}{name}")) is not None
    }
    if len(found) > MAX_ELEMENTS_PER_CALL:
        message = (
            f"More than {MAX_ELEMENTS_PER_CALL} numbers are in it."
            " Have the gateway's elements named."
        )
        raise ItemRejected("data", "too_many", message)
    return found


def is_long_id(value: Any) -> bool:
    """Nobody writes a quantity of 19 digits as text where nothing says that it is one."""
    return isinstance(value, str) and value.isdigit() and len(value) > MAX_QUANTITY_DIGITS


def _named_elements(
    data: dict[str, Any], names: Collection[str], within: str
) -> dict[str, int | Decimal]:
    found = {}
    for name in names:
        value = _member_at_path(data, name)
        if value is None:
            continue
        counted = parse_quantity(value, f"{within}{name}")
        if counted is None:
            raise ItemRejected(f"{within}{name}", "invalid", NOT_A_QUANTITY)
        found[name] = counted
    return found


def _member_at_path(data: Any, path: str) -> Any:
    """The member of that name, or further in by names with dots between them."""
    if not isinstance(data, dict):
        return None
    if path in data:
        return data[path]
    name, _, rest = path.partition(".")
    return _member_at_path(data.get(name), rest) if rest else None
