"""JSON: a list of objects, or one object that holds such a list."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import msgspec

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.foreign import SHAPES
from revcred.uploads.reading.lists import List, RowError, Unreadable
from revcred.uploads.reading.records import Record, decoded, of_records, whole

LARGEST_OBJECT = 8_000_000  # bytes, because it is read whole
LONGEST_ITEM = 1_000_000  # characters
CHUNK = 1 << 16  # characters
BLANK = " \t\r\n\ufeff"

DECODER = json.JSONDecoder()
OBJECTS = re.compile(rb"\[\s*\{")
ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


@contextmanager
def open_json(path: Path) -> Iterator[List]:
    """Raises Unreadable."""
    encoding = encoding_of(path, by_line=False)
    size = path.stat().st_size
    with path.open("rb") as read, TextIOWrapper(read, encoding) as file:
        if _Window(file).peek() == "[":

            def records() -> Iterator[Record]:
                file.seek(0)
                return enumerate(_items(_Window(file)), start=1)

            yield of_records("JSON", records, lambda: read.tell() / size)
        else:
            file.seek(0)
            listed = _listed(file, size)
            yield of_records("JSON", lambda: enumerate(map(decoded, listed), 1), lambda: 1.0)


class _Window:
    """The part of a text that is being read."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """The next character that is not blank. Raises Unreadable at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in BLANK:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                raise Unreadable("The list is not closed at the end of the file.")

    def skip(self) -> None:
        """Go on behind the character that was looked at."""
        self._at += 1

    def item(self, number: int) -> str:
        """The object that begins here. Raises Unreadable."""
        if self.peek() != "{":
            raise Unreadable("It is no object.", row=number)
        while True:
            try:
                _, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > LONGEST_ITEM or not self._more():
                    raise Unreadable(f"This is no JSON: {error.msg}.", row=number) from None
            except RecursionError:
                raise Unreadable("This is nested too deeply.", row=number) from None
            else:
                item, self._at = self._text[self._at : end], end
                return item

    def _more(self) -> bool:
        more = self._file.read(CHUNK)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


def _items(window: _Window) -> Iterator[dict[str, Any] | RowError]:
    """Those of the one list there is, one after the other and never all of them."""
    window.peek()
    window.skip()
    if window.peek() == "]":
        return
    number = 1
    while True:
        yield decoded(window.item(number))
        following = window.peek()
        if following == "]":
            return
        if following != ",":
            raise Unreadable("A comma is missing behind it.", row=number)
        window.skip()
        number += 1


def _listed(file: TextIO, size: int) -> list[msgspec.Raw] | list[str]:
    """The only list of objects that the one object there is holds, or the object itself."""
    if size > LARGEST_OBJECT:
        raise Unreadable(
            f"One object may have {LARGEST_OBJECT:,} bytes; write a list, or one object a line."
        )
    text = file.read().strip(BLANK)
    document = _document(text)
    if len(text) <= LONGEST_ITEM and any(each.fits(whole(document)) for each in SHAPES):
        return [text]
    lists = {
        name: value
        for name, value in document.items()
        if isinstance(value, msgspec.Raw) and OBJECTS.match(value)
    }
    if "consumers" in lists:
        return ITEMS.decode(lists["consumers"])
    return ITEMS.decode(*lists.values()) if len(lists) == 1 else [text]


def _document(text: str) -> dict[str, Any]:
    document = decoded(text)
    if not isinstance(document, RowError):
        return document
    try:
        DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Unreadable(f"This is no JSON: {error.msg}.", row=error.lineno) from None
    except RecursionError:
        raise Unreadable("This is nested too deeply.") from None
    raise Unreadable(document.message)
