"""JSON: a list of objects, or one object that holds such a list."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import msgspec

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.foreign import EXPORT_FORMATS, kong
from revcred.uploads.reading.list_reader import ListReader, RowError, UnreadableFile
from revcred.uploads.reading.records import (
    NumberedRecord,
    decode_record,
    decode_values,
    read_records,
)
from revcred.uploads.reading.row_copiers import JsonCopier

MAX_OBJECT_BYTES = 8_000_000  # a single object is read whole
MAX_ITEM_CHARACTERS = 1_000_000  # characters
WINDOW_CHARACTERS = 1 << 16  # characters
BLANK_CHARACTERS = " \t\r\n\ufeff"

STANDARD_DECODER = json.JSONDecoder()
# Enough to tell a list of objects from a list of texts without decoding it.
OBJECT_LIST = re.compile(rb"\[\s*\{")
ABOUT_PAGES = frozenset({"page", "_links", "links", "meta", "metadata", "pagination"})
RAW_OBJECT_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
RAW_LIST_DECODER = msgspec.json.Decoder(list[msgspec.Raw])


@contextmanager
def open_json(path: Path) -> Iterator[ListReader]:
    """Open a JSON file. Raises UnreadableFile."""
    encoding = encoding_of(path, by_line=False)
    size = path.stat().st_size
    copier = JsonCopier(encoding=encoding)
    with path.open("rb") as read, TextIOWrapper(read, encoding) as file:
        if _JsonScanner(file).peek() == "[":

            def records() -> Iterator[NumberedRecord]:
                # Records are read twice: for the names of their fields, then for the rows.
                file.seek(0)
                return enumerate(_decoded(_read_items(_JsonScanner(file)), copier), start=1)

            yield read_records("JSON", records, lambda: read.tell() / size, copier)
        else:
            file.seek(0)
            copier.name, listed = _items_of_object(file, size)
            copier.is_single = copier.name is None

            def records_of_object() -> Iterator[NumberedRecord]:
                return enumerate(_decoded(listed, copier), start=1)

            yield read_records("JSON", records_of_object, lambda: 1.0, copier)


def _decoded(
    items: Iterable[str] | Iterable[msgspec.Raw], copier: JsonCopier
) -> Iterator[dict[str, Any] | RowError]:
    for item in items:
        copier.pass_record(item)
        yield decode_record(item)


class _JsonScanner:
    """Reads the items of a JSON list one after the other, holding a window of the text."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """Return the next character that is not blank. Raises UnreadableFile at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in BLANK_CHARACTERS:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                raise UnreadableFile("The list is not closed at the end of the file.")

    def skip(self) -> None:
        """Move behind the character that was returned last."""
        self._at += 1

    def item(self, number: int) -> str:
        """Return the text of the object that begins here. Raises UnreadableFile."""
        if self.peek() != "{":
            raise UnreadableFile("This is not an object.", row=number)
        while True:
            try:
                _, end = STANDARD_DECODER.raw_decode(self._text, self._at)
            # The object may just not be complete in the window yet.
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > MAX_ITEM_CHARACTERS or not self._more():
                    raise UnreadableFile(f"This is not JSON: {error.msg}.", row=number) from None
            except RecursionError:
                raise UnreadableFile("This is nested too deeply.", row=number) from None
            else:
                item, self._at = self._text[self._at : end], end
                return item

    def _more(self) -> bool:
        more = self._file.read(WINDOW_CHARACTERS)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


def _read_items(window: _JsonScanner) -> Iterator[str]:
    """Give the texts of the items of the list one by one; never are all of them in memory."""
    window.peek()
    window.skip()
    if window.peek() == "]":
        return
    number = 1
    while True:
        yield window.item(number)
        following = window.peek()
        if following == "]":
            return
        if following != ",":
            raise UnreadableFile("A comma is missing behind it.", row=number)
        window.skip()
        number += 1


def _items_of_object(file: TextIO, size: int) -> tuple[str | None, list[msgspec.Raw] | list[str]]:
    """Return the name and the items of the only list of objects inside a single object.

    If there is none, return None and that object itself.
    """
    if size > MAX_OBJECT_BYTES:
        raise UnreadableFile(
            f"A single object may have at most {MAX_OBJECT_BYTES:,} bytes. Write a list,"
            " or one object a line."
        )
    text = file.read().strip(BLANK_CHARACTERS)
    document = _decode_document(text)
    if len(text) <= MAX_ITEM_CHARACTERS and any(
        each.fits(decode_values(document)) for each in EXPORT_FORMATS
    ):
        return None, [text]
    lists = _object_lists_in(document)
    if "consumers" in lists:
        # A dump of Kong has further lists, such as its services.
        return "consumers", _consumers_with_credentials(lists)
    is_inner = False
    while not lists and len(inner := _objects_in(document)) == 1:
        document, is_inner = inner[0], True
        lists = _object_lists_in(document)
    if len(lists) != 1:
        return None, [text]
    ((name, listed),) = lists.items()
    return None if is_inner else name, RAW_LIST_DECODER.decode(listed)


def _object_lists_in(document: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return {
        name: value
        for name, value in document.items()
        if isinstance(value, msgspec.Raw) and OBJECT_LIST.match(value)
    }


def _objects_in(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that are values, without those that describe a page of answers."""
    return [
        RAW_OBJECT_DECODER.decode(value)
        for name, value in document.items()
        if isinstance(value, msgspec.Raw) and bytes(value)[:1] == b"{" and name not in ABOUT_PAGES
    ]


def _consumers_with_credentials(lists: dict[str, msgspec.Raw]) -> list[msgspec.Raw] | list[str]:
    """Return Kong's consumers as decK writes them, also those of `db_export`."""
    export = kong.DatabaseExport()
    consumers = [
        each
        for each in RAW_LIST_DECODER.decode(lists["consumers"])
        if not export.remember(msgspec.json.decode(each))
    ]
    apart = [
        msgspec.json.encode(export.with_consumer(kind, credential)).decode()
        for kind in kong.CREDENTIAL_TYPES
        if kind in lists
        for credential in msgspec.json.decode(lists[kind])
    ]
    return [bytes(each).decode() for each in consumers] + apart


def _decode_document(text: str) -> dict[str, Any]:
    document = decode_record(text)
    if not isinstance(document, RowError):
        return document
    try:
        STANDARD_DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise UnreadableFile(f"This is not JSON: {error.msg}.", row=error.lineno) from None
    except RecursionError:
        raise UnreadableFile("This is nested too deeply.") from None
    raise UnreadableFile(document.message)
