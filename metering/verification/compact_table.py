"""A table of small records by number, in as few bytes as they have."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator

MAX_CHANGES = 20_000  # beside the table, before it is written anew
MAX_32_BITS = (1 << 32) - 1


class CompactTable:
    """Records by unsigned 64-bit numbers: two arrays and one piece of memory, and what changed.

    One thread changes it. Others may read at any time.
    """

    def __init__(self, records: Iterable[tuple[int, bytes]] = ()) -> None:
        """Take records in ascending order of their numbers, each number once."""
        self._packed = _pack(records)
        self._changes: dict[int, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._packed[0]) + len(self._changes)

    def get(self, number: int) -> bytes | None:
        """Return the record, or None."""
        # Read before the table: while that is written anew, the changes are in both.
        changes = self._changes
        if number in changes:
            return changes[number]
        numbers, ends, records = self._packed
        place = _likely_place(numbers, number)
        if place is None:
            place = bisect_left(numbers, number)
        if place == len(numbers) or numbers[place] != number:
            return None
        return records[ends[place - 1] if place else 0 : ends[place]]

    def put(self, number: int, record: bytes | None) -> None:
        """Set the record of a number; None: there is none any more."""
        self._changes[number] = record
        if len(self._changes) > MAX_CHANGES:
            self._packed = _pack(self._merged())
            self._changes = {}

    def _merged(self) -> Iterator[tuple[int, bytes]]:
        numbers, ends, records = self._packed
        changed = iter(sorted(self._changes))
        next_changed = next(changed, None)
        start = 0
        for number, end in zip(numbers, ends, strict=True):
            while next_changed is not None and next_changed < number:
                if (record := self._changes[next_changed]) is not None:
                    yield next_changed, record
                next_changed = next(changed, None)
            if next_changed == number:
                if (record := self._changes[number]) is not None:
                    yield number, record
                next_changed = next(changed, None)
            else:
                yield number, records[start:end]
            start = end
        while next_changed is not None:
            if (record := self._changes[next_changed]) is not None:
                yield next_changed, record
            next_changed = next(changed, None)


def _likely_place(numbers: "array[int]", number: int) -> int | None:
    """Return the place of a number among ids without gaps, or None if it is not there."""
    place = number - numbers[0] if numbers else -1
    return place if 0 <= place < len(numbers) and numbers[place] == number else None


Packed = tuple["array[int]", "array[int]", bytes]


def _pack(records: Iterable[tuple[int, bytes]]) -> Packed:
    # Half as wide as numbers, as long as the records fit.
    numbers, ends, text = array("Q"), array("I"), bytearray()
    for number, record in records:
        numbers.append(number)
        text += record
        if len(text) > MAX_32_BITS and ends.typecode == "I":
            ends = array("Q", ends)
        ends.append(len(text))
    # Copies have no room to grow.
    return array("Q", numbers), array(ends.typecode, ends), bytes(text)
