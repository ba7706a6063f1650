"""YAML, of which one shape is read: what decK dumps of Kong's consumers."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.foreign import kong
from revcred.uploads.reading.lists import List, Unreadable
from revcred.uploads.reading.records import Record, of_foreign

LARGEST_YAML = 50_000_000  # bytes
DEEPEST = 20
MOST_NODES = 10_000  # of one consumer

NOT_KONG = "Of YAML, only what decK dumps of Kong is read: consumers with their credentials."
NOTHING = {"", "~", "null", "Null", "NULL"}


@contextmanager
def open_yaml(path: Path) -> Iterator[List]:
    """Raises Unreadable."""
    size = path.stat().st_size
    if size > LARGEST_YAML:
        raise Unreadable(f"YAML may have {LARGEST_YAML:,} bytes; this has {size:,}.")
    encoding_of(path)
    with path.open("rb") as file:
        consumers = _Reader(file).consumers()
        first = next(consumers)
        yield of_foreign(kong.SHAPE, "YAML", chain([first], consumers), lambda: file.tell() / size)


class _Reader:
    """Goes through the parser's events, so that only one consumer is held at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._events = yaml.parse(file, Loader=yaml.CSafeLoader)

    def consumers(self) -> Iterator[Record]:
        """Each with the line it begins in. Raises Unreadable, also if there is none."""
        self._enter()
        some = False
        while not isinstance(key := self._event(), yaml.MappingEndEvent):
            value = self._event()
            if _says(key, "consumers") and isinstance(value, yaml.SequenceStartEvent):
                for record in self._sequence():
                    some = True
                    yield record
            else:
                self._skip(value)
        if not some:
            raise Unreadable(NOT_KONG)

    def _enter(self) -> None:
        """Go to the document's first key."""
        while isinstance(event := self._event(), yaml.StreamStartEvent | yaml.DocumentStartEvent):
            pass
        if not isinstance(event, yaml.MappingStartEvent):
            raise Unreadable(NOT_KONG)

    def _sequence(self) -> Iterator[Record]:
        while not isinstance(event := self._event(), yaml.SequenceEndEvent):
            self._nodes = 0
            line, consumer = _line(event.start_mark), self._value(event)
            if not isinstance(consumer, dict):
                raise Unreadable(NOT_KONG, row=line)
            yield line, consumer

    def _event(self) -> yaml.Event:
        try:
            event = next(self._events)
        except yaml.MarkedYAMLError as error:
            message = f"This is no YAML: {error.problem}."
            raise Unreadable(message, row=_line(error.problem_mark)) from None
        except yaml.YAMLError:
            raise Unreadable("This is no YAML: it holds what is no text.") from None
        if isinstance(event, yaml.AliasEvent):
            raise Unreadable("Aliases are not read.", row=_line(event.start_mark))
        return event

    def _skip(self, event: yaml.Event) -> None:
        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if not depth:
                return
            event = self._event()

    def _value(self, event: yaml.Event, depth: int = 0) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > DEEPEST:
            raise Unreadable("There is too much in here.", row=_line(event.start_mark))
        if isinstance(event, yaml.ScalarEvent):
            return None if event.implicit[0] and event.value in NOTHING else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return [*self._values(depth)]
        values = self._values(depth)
        return {str(key): value for key, value in zip(values, values, strict=True)}

    def _values(self, depth: int) -> Iterator[Any]:
        """Those of the collection that has just begun."""
        while not isinstance(event := self._event(), yaml.CollectionEndEvent):
            yield self._value(event, depth + 1)


def _line(mark: Any) -> int:
    """As people count them; 0 if it is not known."""
    return mark.line + 1 if mark else 0


def _says(event: yaml.Event, text: str) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == text
