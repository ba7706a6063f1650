"""JSON: a list of objects or of rows, several of them, or one object that holds such a list."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import msgspec
from django.utils.translation import gettext_noop

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.foreign import EXPORT_FORMATS, kong
from revcred.uploads.reading.headers import LOOKS_LIKE_DATA
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
ABOUT_LISTS = ABOUT_PAGES | {"count", "total", "next", "previous", "version", "_format_version"}
MIN_ENTRIES = 3  # from this many alike objects on, an object is taken for a list of them
ENTRY_FIELD = "entry"  # the name of an object in an object
NAMES_DECODER = msgspec.json.Decoder(list[str])
RAW_OBJECT_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
RAW_LIST_DECODER = msgspec.json.Decoder(list[msgspec.Raw])


@contextmanager
def open_json(path: Path) -> Iterator[ListReader]:
    """Open a JSON file. Raises UnreadableFile."""
    encoding = encoding_of(path, by_line=False)
    size = path.stat().st_size
    copier = JsonCopier(encoding=encoding)
    with path.open("rb") as read, TextIOWrapper(read, encoding) as file:
        single = _single_object_in(file, size) if _JsonScanner(file).peek() == "{" else ""
        if single:
            listed = items_of_object(single)
            copier.name, copier.is_single = listed.name, listed.is_single

            def records_of_object() -> Iterator[NumberedRecord]:
                return enumerate(_decoded(listed.items, copier), start=1)

            yield read_records("JSON", records_of_object, lambda: 1.0, copier)
        else:

            def records() -> Iterator[NumberedRecord]:
                # Records are read twice: for the names of their fields, then for the rows.
                file.seek(0)
                return _numbered_records(_read_items(_JsonScanner(file)), copier)

            yield read_records("JSON", records, lambda: read.tell() / size, copier)


def _single_object_in(file: TextIO, size: int) -> str:
    """Return the text of the object that the file is; "" if more objects follow.

    Raises UnreadableFile.
    """
    file.seek(0)
    if size > MAX_OBJECT_BYTES:
        scanner = _JsonScanner(file)
        # Its only object is larger than one of several may be.
        with suppress(UnreadableFile):
            scanner.item(1)
            if not scanner.is_at_end():
                return ""
        raise UnreadableFile(
            f"A single object may have at most {MAX_OBJECT_BYTES:,} bytes. Write a list,"
            " or one object a line."
        )
    text = file.read().strip(BLANK_CHARACTERS)
    try:
        _, end = STANDARD_DECODER.raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        return text  # to say what is wrong with it
    return text if end == len(text) or text[end:].lstrip()[:1] not in {"{", "["} else ""


def _numbered_records(items: Iterable[str], copier: JsonCopier) -> Iterator[NumberedRecord]:
    """Decode each item. If the first is a list of names, the others are lists of their values."""
    numbered: Iterator[tuple[int, str]] = enumerate(items, start=1)
    first = next(numbered, None)
    if first is None:
        return
    names = _names_in(first[1])
    if names:
        copier.header = first[1]
    else:
        numbered = chain([first], numbered)
    for number, item in numbered:
        copier.pass_record(item)
        yield number, _decode_row(names, item) if names else decode_record(item)


def _names_in(item: str) -> list[str]:
    """Return the texts of which the item is a list; none if it is anything else."""
    try:
        return NAMES_DECODER.decode(item)
    except msgspec.DecodeError:
        return []


def _decode_row(names: list[str], item: str) -> dict[str, Any] | RowError:
    try:
        cells = RAW_LIST_DECODER.decode(item)
    except (msgspec.DecodeError, RecursionError):
        return RowError("", gettext_noop("This is not a list, as the first one is."))
    if len(cells) != len(names):
        return RowError("", f"It has {len(cells):,} cells, the header {len(names):,}.")
    return dict(zip(names, cells, strict=True))


def _decoded(items: Iterable[bytes], copier: JsonCopier) -> Iterator[dict[str, Any] | RowError]:
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
                raise UnreadableFile(gettext_noop("The list is not closed at the end of the file."))

    def is_at_end(self) -> bool:
        """Return whether nothing but blanks follows."""
        while not self._text[self._at :].strip(BLANK_CHARACTERS):
            self._at = len(self._text)
            if not self._more():
                return True
        return False

    def skip(self) -> None:
        """Move behind the character that was returned last."""
        self._at += 1

    def item(self, number: int) -> str:
        """Return the text of the object or list that begins here. Raises UnreadableFile."""
        if self.peek() not in {"{", "["}:
            raise UnreadableFile(gettext_noop("This is not an object."), row=number)
        while True:
            try:
                _, end = STANDARD_DECODER.raw_decode(self._text, self._at)
            # The object may just not be complete in the window yet.
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > MAX_ITEM_CHARACTERS or not self._more():
                    raise UnreadableFile(f"This is not JSON: {error.msg}.", row=number) from None
            except RecursionError:
                raise UnreadableFile(
                    gettext_noop("This is nested too deeply."), row=number
                ) from None
            else:
                item, self._at = self._text[self._at : end], end
                return item

    def _more(self) -> bool:
        more = self._file.read(WINDOW_CHARACTERS)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


def _read_items(window: _JsonScanner) -> Iterator[str]:
    """Give the texts of the items one by one; never are all of them in memory.

    They are those of one list or of several, one after the other, and objects beside them.
    """
    number = 1
    while not window.is_at_end():
        if window.peek() == "{":
            yield window.item(number)
            number += 1
        elif window.peek() == "[":
            for item in _read_list(window, number):
                yield item
                number += 1
        else:
            raise UnreadableFile(
                gettext_noop("Something stands behind it that is no JSON."), row=number - 1
            )


def _read_list(window: _JsonScanner, number: int) -> Iterator[str]:
    """Give the texts of the items of a list, the first of which has this number."""
    window.skip()
    if window.peek() == "]":
        window.skip()
        return
    while True:
        yield window.item(number)
        following = window.peek()
        window.skip()
        if following == "]":
            return
        if following != ",":
            raise UnreadableFile(gettext_noop("A comma is missing behind it."), row=number)
        number += 1


@dataclass(frozen=True)
class ObjectItems:
    """The records in a single object: of its list `name`, of a list deeper in it, or itself."""

    items: list[bytes]
    name: str | None = None
    is_single: bool = False  # the object itself is the record


def items_of_object(text: str) -> ObjectItems:
    """Return the items of the only list of objects inside a single object, or that object.

    Raises UnreadableFile.
    """
    document = _decode_document(text)
    decoded = decode_values(document)
    if any(each.fits(decoded) for each in EXPORT_FORMATS):
        return ObjectItems([text.encode()], is_single=True)
    lists = _object_lists_in(document)
    if "consumers" in lists:
        # A dump of a gateway has further lists, such as its services.
        return ObjectItems(_consumers_with_credentials(lists), "consumers")
    is_inner = False
    while not lists and len(inner := _objects_in(document)) == 1:
        document, is_inner = inner[0], True
        lists = _object_lists_in(document)
    if not lists and (entries := _entries_of(document)):
        return ObjectItems(entries)
    if len(lists) > 1 and lists.keys() | ABOUT_LISTS >= document.keys():
        raise UnreadableFile(
            f"It has several lists: {', '.join(name[:40] for name in lists)}. Upload each by"
            " itself."
        )
    if len(lists) != 1:
        return ObjectItems([text.encode()], is_single=True)
    ((name, listed),) = lists.items()
    return ObjectItems(_items_in(listed), None if is_inner else name)


def _entries_of(document: dict[str, Any]) -> list[bytes]:
    """Return the objects that are values, each with its name as a field, if they are all alike."""
    objects = {
        name: RAW_OBJECT_DECODER.decode(value)
        for name, value in document.items()
        if isinstance(value, msgspec.Raw) and bytes(value)[:1] == b"{"
    }
    looks_like_data = any(LOOKS_LIKE_DATA.fullmatch(name) for name in objects)
    fields = [{*each} for each in objects.values()]
    if len(objects) < len(document) or (len(objects) < MIN_ENTRIES and not looks_like_data):
        return []
    if not 2 * len({*fields[0]}.intersection(*fields)) >= len({*()}.union(*fields)):
        return []
    return [msgspec.json.encode({ENTRY_FIELD: name} | values) for name, values in objects.items()]


def _items_in(listed: msgspec.Raw) -> list[bytes]:
    return [bytes(each) for each in RAW_LIST_DECODER.decode(listed)]


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


def _consumers_with_credentials(lists: dict[str, msgspec.Raw]) -> list[bytes]:
    """Return Kong's consumers as decK writes them, also those of `db_export`."""
    export = kong.DatabaseExport(lists)
    consumers = [
        each
        for each in _items_in(lists["consumers"])
        if not export.remember(msgspec.json.decode(each))
    ]
    apart = [
        export.with_consumer(kind, credential)
        for kind in kong.CREDENTIAL_TYPES
        if kind in lists
        for credential in msgspec.json.decode(lists[kind])
    ]
    return consumers + [
        msgspec.json.encode(each) for each in apart + export.consumers_without_credentials()
    ]


def _decode_document(text: str) -> dict[str, Any]:
    document = decode_record(text)
    if not isinstance(document, RowError):
        return document
    try:
        STANDARD_DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise UnreadableFile(f"This is not JSON: {error.msg}.", row=error.lineno) from None
    except RecursionError:
        raise UnreadableFile(gettext_noop("This is nested too deeply.")) from None
    raise UnreadableFile(document.message)
