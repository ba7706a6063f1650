"""Quantities that a call counts: exact decimals, and nothing rounded without a word."""

from decimal import Decimal, InvalidOperation

MAX_ELEMENTS_PER_CALL = 50
MAX_ELEMENT_NAME_CHARACTERS = 100
MAX_QUANTITY_DIGITS = 18  # of a quantity, before the decimal point
QUANTITY_UPPER_BOUND = 10**MAX_QUANTITY_DIGITS
QUANTITY_PRECISION = Decimal("1e-9")


class UncountableQuantity(ValueError):
    """A quantity that cannot be counted: a code for programs, a sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_raw_quantity(raw: bytes) -> int | Decimal:
    """Return the number in its shortest form, so that 1.50 and 1.5 have the same content hash.

    `raw`: the number as JSON has it.

    Raises:
        UncountableQuantity: it is no number, out of range or too fine.
    """
    # Nearly all quantities are short integers, and `int` is faster than `Decimal`.
    if raw.isdigit() and len(raw) <= MAX_QUANTITY_DIGITS:
        return int(raw)
    if raw[:1] not in b"-0123456789":
        raise UncountableQuantity("invalid", "A quantity is a number.")
    quantity = _parse_decimal(raw)
    if quantity is None or not 0 <= quantity < QUANTITY_UPPER_BOUND:
        raise UncountableQuantity("out_of_range", "A quantity is zero or more and below 10^18.")
    # Ten decimal places are rejected and not rounded: money would be lost without a word.
    rounded = quantity.quantize(QUANTITY_PRECISION)
    if rounded != quantity:
        raise UncountableQuantity("too_fine", "A quantity has at most nine decimal places.")
    return int(rounded) if rounded == int(rounded) else rounded.normalize()


def _parse_decimal(raw: bytes) -> Decimal | None:
    try:
        return Decimal(raw.decode())
    except InvalidOperation:  # an exponent of twenty digits
        return None
