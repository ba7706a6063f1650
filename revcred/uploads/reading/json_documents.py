"""JSON: a list of objects, or one object that holds such a list."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.foreign import SHAPES
from revcred.uploads.reading.lists import List, Unreadable
from revcred.uploads.reading.records import Record, of_records

LARGEST_OBJECT = 16_000_000  # bytes, because it is read whole
LONGEST_ITEM = 1_000_000  # characters
CHUNK = 1 << 16  # characters
BLANK = " \t\r\n"

# Numbers as they were written: a key of digits has to stay what it is.
DECODER = json.JSONDecoder(parse_float=str, parse_int=str)


@contextmanager
def open_json(path: Path) -> Iterator[List]:
    """Raises Unreadable."""
    encoding = encoding_of(path, by_line=False)
    size = path.stat().st_size
    with path.open("rb") as read, TextIOWrapper(read, encoding) as file:
        if _first_character(file) == "[":

            def records() -> Iterator[Record]:
                file.seek(0)
                return enumerate(_items(file), start=1)

            yield of_records("JSON", records, lambda: read.tell() / size)
        else:
            file.seek(0)
            listed = _list_in(file, size)
            yield of_records("JSON", lambda: enumerate(listed, start=1), lambda: 1.0)


def _first_character(file: TextIO) -> str:
    while (character := file.read(1)) in (*BLANK, "\ufeff"):
        pass
    return character


def _items(file: TextIO) -> Iterator[Any]:
    """Those of the one list there is, one after the other and never all of them."""
    _first_character(file)
    text, at, number = "", 0, 1
    while True:
        text, at = _next(file, text, at)
        if text[at] == "]" and number == 1:
            return
        item, text, at = _item(file, text, at, number)
        yield item
        text, at = _next(file, text, at)
        if text[at] == "]":
            return
        if text[at] != ",":
            raise Unreadable("A comma is missing behind it.", row=number)
        at += 1
        number += 1


def _next(file: TextIO, text: str, at: int) -> tuple[str, int]:
    """Text and the place in it of the next character that is not blank."""
    while True:
        while at < len(text) and text[at] in BLANK:
            at += 1
        if at < len(text):
            return text, at
        text, at = file.read(CHUNK), 0
        if not text:
            raise Unreadable("The list is not closed at the end of the file.")


def _item(file: TextIO, text: str, at: int, number: int) -> tuple[Any, str, int]:
    """The item that begins at this place, and where it ends. Raises Unreadable."""
    if text[at] != "{":
        raise Unreadable("It is no object.", row=number)
    while True:
        try:
            item, end = DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            more = file.read(CHUNK) if len(text) - at < LONGEST_ITEM else ""
            if not more:
                raise Unreadable(f"This is no JSON: {error.msg}.", row=number) from None
            text, at = text[at:] + more, 0
        except RecursionError:
            raise Unreadable("This is nested too deeply.", row=number) from None
        else:
            return item, text, end


def _list_in(file: TextIO, size: int) -> list[Any]:
    """The only list of objects that the one object there is holds, or the object itself."""
    if size > LARGEST_OBJECT:
        raise Unreadable(
            f"One object may have {LARGEST_OBJECT:,} bytes; write a list, or one object a line."
        )
    try:
        document = DECODER.decode(file.read().lstrip("\ufeff"))
    except json.JSONDecodeError as error:
        raise Unreadable(f"This is no JSON: {error.msg}.", row=error.lineno) from None
    except RecursionError:
        raise Unreadable("This is nested too deeply.") from None
    if not isinstance(document, dict):
        raise Unreadable("This is no list of objects.")
    if isinstance(consumers := document.get("consumers"), list):
        return consumers
    if any(each.fits(document) for each in SHAPES):
        return [document]
    lists = [each for each in document.values() if _of_objects(each)]
    return lists[0] if len(lists) == 1 else [document]


def _of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
