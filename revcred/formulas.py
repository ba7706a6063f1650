"""Guards for text that a spreadsheet would take for a formula. Here such text is just text."""

import re

# Apostrophes count as part of the start, so that a cell which begins with one before a formula
# gets another one and comes back unchanged.
FORMULA_START = re.compile(r"'*[=+\-@\t\r]")
GUARDED_START = re.compile(r"'+[=+\-@\t\r]")


def guard_formula(cell: str) -> str:
    """Return the cell so that a spreadsheet shows it instead of computing it.

    `remove_guard` returns the original exactly.
    """
    return f"'{cell}" if FORMULA_START.match(cell) else cell


def remove_guard(cell: str) -> str:
    """Return the cell without the apostrophe that `guard_formula` put before it."""
    return cell[1:] if GUARDED_START.match(cell) else cell
