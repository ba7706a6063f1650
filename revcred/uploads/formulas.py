"""Text that a spreadsheet would take for a formula. Here it is always what it says."""

import re

FORMULA = re.compile(r"'*[=+\-@\t\r]")
GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guarded(cell: str) -> str:
    """What a spreadsheet shows instead of working out. `plain` takes it back exactly."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def plain(cell: str) -> str:
    return cell[1:] if GUARDED.match(cell) else cell
