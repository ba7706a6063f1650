"""Answers as they are sent."""

from collections.abc import Sequence
from dataclasses import dataclass

HeaderList = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CompleteAnswer:
    """An answer that is sent at once."""

    status: int
    headers: HeaderList
    body: bytes
