"""The error of a cell that is not valid in its column."""


class InvalidCell(ValueError):
    """A cell is not valid in its column. The text says why, without the value."""
