"""Which column of a file is which of ours."""

from collections.abc import Mapping, Sequence

from revcred.uploads.columns import Kind
from revcred.uploads.reading import Cells


def guess(kind: Kind, header: Sequence[str], sample: Sequence[Cells]) -> dict[int, str]:
    """The name of our column for each position of the header for which one can be told."""
    raise NotImplementedError


def signature(kind: Kind, header: Sequence[str]) -> str:
    """What files of the same shape have in common, to remember a mapping under."""
    raise NotImplementedError


def missing(kind: Kind, mapping: Mapping[int, str]) -> list[str]:
    """The names of the required columns that nothing is mapped to."""
    raise NotImplementedError
