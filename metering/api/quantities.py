"""Quantities in foreign formats: numbers, and numbers written as text.

`/v1/transactions` takes exact decimals only. Clients of the other doors calculate with doubles and
send what their language prints, so that noise in the last digits must not reject a call.
"""

import math
import re
from collections.abc import Collection
from decimal import Context, Decimal
from typing import Any

import msgspec

from metering.api.decoding import ItemRejected, refuse_doubled
from metering.inbox.quantities import (
    MAX_ELEMENT_NAME_CHARACTERS,
    MAX_ELEMENTS_PER_CALL,
    MAX_QUANTITY_DIGITS,
    QUANTITY_PRECISION,
    QUANTITY_UPPER_BOUND,
)

# The number of JSON, with limits on its digits: converting very long ones takes Python quadratic
# time, and no quantity has so many.
NUMBER_PATTERN = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
NUMBER_OF_ANY_LENGTH = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
NOT_A_QUANTITY = "A quantity is a number, zero or more and below 10^18."
OUT_OF_RANGE = "A quantity is zero or more and below 10^18."
TOO_FINE = "A quantity has at most nine decimal places."
# Written by the JSON libraries of several languages, although JSON has no such numbers.
NON_FINITE_TEXTS = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
DOUBLE_PRECISION = Context(prec=15)  # significant decimal digits that a double can hold


def exact_decimal(text: str) -> Decimal:
    """Return a number of JSON with all its digits, or infinity if it is too large for a double."""
    if math.isinf(float(text)):
        return Decimal(float(text))
    return Decimal(text) if NUMBER_PATTERN.fullmatch(text) else Decimal(repr(float(text)))


_decode_exactly = msgspec.json.Decoder(float_hook=exact_decimal).decode


def decode_exact_values(data: msgspec.Raw, field: str = "data") -> Any:
    """Return the decoded JSON with exact decimals. Raises ItemRejected with `field`."""
    try:
        values = _decode_exactly(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ItemRejected(field, "invalid", "It is not JSON that can be stored.") from error
    except RecursionError as error:
        raise ItemRejected(field, "too_deep", "It is nested too deeply.") from error
    refuse_doubled(bytes(data), values)
    return values


def read_quantity(value: Any, field: str) -> int | Decimal:
    """Return a value as a quantity. Raises ItemRejected, also if it is no number at all."""
    quantity = parse_quantity(value, field)
    if quantity is None:
        raise ItemRejected(field, "invalid", NOT_A_QUANTITY)
    return quantity


def parse_quantity(value: Any, field: str, *, rounded: bool = False) -> int | Decimal | None:
    """Return a value as a quantity, or None if it is no number at all.

    The 16th digit of a double is noise, so that 0.30000000000000004 is 0.3. With `rounded`, digits
    beyond nine decimal places are rounded away: prices per token are finer than that.

    Raises:
        ItemRejected: it is a number, but negative, too large or too fine to be counted.
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
    # Digits beyond the ninth place reject the call, unless they are but the noise of a double.
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
    """Return the named members as quantities, or without names all members that are numbers.

    `within`: how a rejection calls what they are members of.

    Raises:
        ItemRejected: a member cannot be counted, or there are more than MAX_ELEMENTS_PER_CALL.
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
            f"It holds more than {MAX_ELEMENTS_PER_CALL} numbers."
            " Ask an admin to name the gateway's elements."
        )
        raise ItemRejected("data", "too_many", message)
    return found


def is_long_id(value: Any) -> bool:
    """Return True for a text of so many digits that it is an id and no quantity."""
    return isinstance(value, str) and value.isdigit() and len(value) > MAX_QUANTITY_DIGITS


def _named_elements(
    data: dict[str, Any], names: Collection[str], within: str
) -> dict[str, int | Decimal]:
    found = {}
    for name in names:
        value = _member_at_path(data, name)
        if value is None:
            continue
        found[name] = read_quantity(value, f"{within}{name}")
    return found


def _member_at_path(data: Any, path: str) -> Any:
    """Return the member of this name, or the one that its dotted path leads to, or None."""
    if not isinstance(data, dict):
        return None
    # A name may have dots of its own, as those of OpenTelemetry's attributes do: it comes first.
    if path in data:
        return data[path]
    name, _, rest = path.partition(".")
    return _member_at_path(data.get(name), rest) if rest else None
