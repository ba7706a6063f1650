"""A column of a kind of list."""

from collections.abc import Callable
from dataclasses import dataclass

# A comma or semicolon would clash with the delimiters of CSV.
VALUE_SEPARATOR = "|"  # between several values in one cell

# Returns the value as COPY takes it; "" for a blank cell. Raises InvalidCell.
CellParser = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class ListColumn:
    """A column of a list.

    Cells with several values keep them between separators, each value once.
    """

    name: str
    title: str
    help: str
    example: str
    parse: CellParser
    required: bool = False
    several: bool = False
    secret: bool = False
    identifying: bool = False  # differs from row to row, so it can have no fixed value
    shown_as: Callable[[str], str] = str  # a cell as people may see it, unless it is secret
    joins: bool = False  # several columns of a file may be it: their cells are put together
    # Names that other systems use. `mapping` compares them without case and punctuation.
    aliases: tuple[str, ...] = ()
