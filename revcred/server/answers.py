"""Answers as they are sent."""

from collections.abc import Sequence

import msgspec

HeaderList = Sequence[tuple[str, str]]


class CompleteAnswer(msgspec.Struct, frozen=True):
    """An answer that is sent at once."""

    status: int
    headers: HeaderList
    body: bytes
