"""Seal keys and secrets of a chunk for the database rows that they will belong to.

A sealed value names its row. The file is read a second time for this, so that keys in clear
never wait anywhere but in the file.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from revcred.actions.credentials import generate_key
from revcred.fingerprints import fingerprint_hex, hint
from revcred.models import SealedValue
from revcred.uploads.columns import VALUE_SEPARATOR, ListColumn
from revcred.uploads.reading import NumberedRow, RowError
from revcred.uploads.staging import array_literal, cells_at, joined_columns

# number, fingerprint, hint, value, secret, aliases
SealedRow: TypeAlias = tuple[int, str | None, str | None, str | None, str | None, str | None]


class FileChanged(Exception):
    """The file is not the one that was checked."""


@dataclass(frozen=True)
class SealTarget:
    """A row of the file, and the database key (`ExternalKey`) that its values are sealed for."""

    number: int  # of the row
    key_id: int
    is_new: bool
    fingerprint: str | None  # of the key in the row when it was checked
    aliases: Mapping[str, int]  # database keys of new aliases, by their fingerprints


class ChunkSealer:
    """A reader of the file that goes through it once, in step with the chunks."""

    def __init__(self, rows: Iterable[NumberedRow], mapped: Mapping[int, ListColumn]) -> None:
        self._rows = iter(rows)
        self._takers = {
            column.name: cells_at(positions) for column, positions in joined_columns(mapped)
        }
        self._parsers = {column.name: column.parse for column in mapped.values()}

    def seal(self, targets: list[SealTarget]) -> list[SealedRow]:
        """Return the sealed values of these rows, in order.

        Raises FileChanged if a row has another key than when it was checked.
        """
        return list(self._seal_rows(targets))

    def _seal_rows(self, targets: list[SealTarget]) -> Iterator[SealedRow]:
        for target in targets:
            key, secret, aliases = self._values_of_row(target)
            sealed_secret = (
                None if secret is None else _sealed_bytea("secret", secret, target.key_id)
            )
            if target.is_new:
                key = key or generate_key()
                sealed_key = _sealed_bytea("value", key, target.key_id)
                yield (
                    target.number,
                    fingerprint_hex(key),
                    hint(key),
                    sealed_key,
                    sealed_secret,
                    aliases,
                )
            else:
                # An existing key stays as it is sealed; only its secret may be replaced.
                yield target.number, None, None, None, sealed_secret, aliases

    def _values_of_row(self, target: SealTarget) -> tuple[str | None, str | None, str | None]:
        """Return the key, the secret, and the sealed aliases as an array for COPY."""
        for number, cells in self._rows:
            if number != target.number:
                continue
            if isinstance(cells, RowError):
                break
            key = self._value("key", cells)
            # The plan was made for this key. Another one must not be written in its place.
            if (fingerprint_hex(key) if key else None) != target.fingerprint:
                break
            return key, self._value("secret", cells), self._sealed_aliases(target, cells)
        raise FileChanged

    def _value(self, name: str, cells: list[str]) -> str | None:
        return (
            self._parsers[name](self._takers[name](cells)) or None if name in self._takers else None
        )

    def _sealed_aliases(self, target: SealTarget, cells: list[str]) -> str | None:
        if not target.aliases:
            return None
        texts = (self._value("aliases", cells) or "").split(VALUE_SEPARATOR)
        by_fingerprint = {fingerprint_hex(text): text for text in texts}
        if not target.aliases.keys() <= by_fingerprint.keys():
            raise FileChanged
        return array_literal(
            _sealed_bytea("value", by_fingerprint[alias], number)
            for alias, number in target.aliases.items()
        )


def _sealed_bytea(field: str, text: str, key_id: int) -> str:
    """Return the sealed text in PostgreSQL's notation for bytea, as COPY takes it."""
    return "\\x" + SealedValue.token(field, text, of=key_id).hex()
