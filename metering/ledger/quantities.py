"""Format quantities for pages: with all of their digits, and never an exponent."""

from decimal import Decimal
from typing import Any

import msgspec

_encode_json = msgspec.json.Encoder(decimal_format="number").encode


def format_quantity(quantity: Decimal | float) -> str:
    """Return 1234567.500000000 as 1,234,567.5, exact to the last digit."""
    text = f"{Decimal(str(quantity)):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_field_value(value: Any) -> str:
    """Return the value of a call's field as people read it; lists and objects as JSON."""
    return str(value) if isinstance(value, str) else _encode_json(value).decode()
