"""Seal the keys and secrets of a chunk for the rows they will belong to.

The file is read a second time for that, so that nothing of it ever waits anywhere else.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from revcred.actions.credentials import generate_key
from revcred.fingerprints import fingerprint_hex, hint
from revcred.models import SealedValue
from revcred.uploads.columns import ListColumn
from revcred.uploads.reading import NumberedRow, RowError

# number, fingerprint, hint, value, secret
SealedRow: TypeAlias = tuple[int, str | None, str | None, str | None, str | None]


class FileChanged(Exception):
    """The file is not the one that was checked."""


@dataclass(frozen=True)
class SealTarget:
    """The key that what stands in a row is sealed for, and its fingerprint there."""

    number: int
    key: int
    is_new: bool
    fingerprint: str | None


class ChunkSealer:
    """Goes through the file once, in step with the chunks."""

    def __init__(self, rows: Iterable[NumberedRow], mapped: Mapping[int, ListColumn]) -> None:
        self._rows = iter(rows)
        at = {column.name: position for position, column in mapped.items()}
        self._key, self._secret = at.get("key"), at.get("secret")
        self._parse = {column.name: column.parse for column in mapped.values()}

    def seal(self, places: list[SealTarget]) -> list[SealedRow]:
        """Raises FileChanged if the file has other keys there."""
        return list(self._sealed(places))

    def _sealed(self, places: list[SealTarget]) -> Iterator[SealedRow]:
        for place in places:
            key, secret = self._texts(place)
            hidden = None if secret is None else _sealed_bytea("secret", secret, place.key)
            if place.is_new:
                key = key or generate_key()
                value = _sealed_bytea("value", key, place.key)
                yield place.number, fingerprint_hex(key), hint(key), value, hidden
            else:
                yield place.number, None, None, None, hidden

    def _texts(self, place: SealTarget) -> tuple[str | None, str | None]:
        for number, cells in self._rows:
            if number != place.number:
                continue
            if isinstance(cells, RowError):
                break
            key = self._text("key", self._key, cells)
            if (fingerprint_hex(key) if key else None) != place.fingerprint:
                break
            return key, self._text("secret", self._secret, cells)
        raise FileChanged

    def _text(self, name: str, position: int | None, cells: list[str]) -> str | None:
        return self._parse[name](cells[position]) or None if position is not None else None


def _sealed_bytea(field: str, text: str, key: int) -> str:
    return "\\x" + SealedValue.token(field, text, of=key).hex()
