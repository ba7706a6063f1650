"""YAML in one shape: the consumers that decK dumps of Kong."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.foreign import kong
from revcred.uploads.reading.list_reader import ListReader, UnreadableFile
from revcred.uploads.reading.records import NumberedRecord, read_export
from revcred.uploads.reading.row_copiers import ConsumersCopier

MAX_YAML_BYTES = 50_000_000  # bytes
MAX_YAML_DEPTH = 20
MAX_CONSUMER_NODES = 10_000  # of one consumer

NOT_KONG = "The only YAML that can be read is decK's dump of Kong: consumers with credentials."
YAML_NULLS = {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True)
class AnchoredValue:
    """A value that aliases stand for, and the number of nodes in it."""

    value: Any
    nodes: int


@contextmanager
def open_yaml(path: Path) -> Iterator[ListReader]:
    """Open a YAML file. Raises UnreadableFile."""
    size = path.stat().st_size
    if size > MAX_YAML_BYTES:
        raise UnreadableFile(f"YAML may have {MAX_YAML_BYTES:,} bytes; this has {size:,}.")
    encoding_of(path)
    copier = ConsumersCopier()
    with path.open("rb") as file:
        consumers = _ConsumerReader(file).consumers()
        first = next(consumers)
        yield read_export(
            kong.KONG_EXPORT,
            "YAML",
            _passed_to(copier, chain([first], consumers)),
            lambda: file.tell() / size,
            copier,
        )


def _passed_to(
    copier: ConsumersCopier, consumers: Iterator[NumberedRecord]
) -> Iterator[NumberedRecord]:
    for number, consumer in consumers:
        copier.pass_record(consumer)
        yield number, consumer


class _ConsumerReader:
    """Reads consumers from the parser's events, one at a time in memory."""

    def __init__(self, file: BinaryIO) -> None:
        # Events instead of a document: a dump of a gateway may be far larger than its consumers.
        self._events = yaml.parse(file, Loader=yaml.CSafeLoader)
        self._anchored: dict[str, AnchoredValue] = {}
        self._nodes = 0

    def consumers(self) -> Iterator[NumberedRecord]:
        """Give each consumer with the line it begins in.

        Raises UnreadableFile, also if there is no consumer.
        """
        self._enter()
        export, some = kong.DatabaseExport(), False
        while not isinstance(key := self._event(), yaml.MappingEndEvent):
            value = self._event()
            name = key.value if isinstance(key, yaml.ScalarEvent) else ""
            if name == "consumers" and isinstance(value, yaml.SequenceStartEvent):
                for line, consumer in self._sequence():
                    if not export.remember(consumer):
                        some = True
                        yield line, consumer
            elif name in kong.CREDENTIAL_TYPES and isinstance(value, yaml.SequenceStartEvent):
                for line, credential in self._sequence():
                    some = True
                    yield line, export.with_consumer(name, credential)
            else:
                self._skip(value)
        if not some:
            raise UnreadableFile(NOT_KONG)

    def _enter(self) -> None:
        """Go to the document's first key."""
        while isinstance(event := self._event(), yaml.StreamStartEvent | yaml.DocumentStartEvent):
            pass
        if not isinstance(event, yaml.MappingStartEvent):
            raise UnreadableFile(NOT_KONG)

    def _sequence(self) -> Iterator[NumberedRecord]:
        while not isinstance(event := self._event(), yaml.SequenceEndEvent):
            self._nodes = 0
            line, consumer = _line_number(event.start_mark), self._value(event)
            if not isinstance(consumer, dict):
                raise UnreadableFile(NOT_KONG, row=line)
            yield line, consumer

    def _event(self) -> yaml.Event:
        try:
            event = next(self._events)
        except yaml.MarkedYAMLError as error:
            message = f"This is not YAML: {error.problem}."
            raise UnreadableFile(message, row=_line_number(error.problem_mark)) from None
        except yaml.YAMLError:
            raise UnreadableFile("This is not YAML: it contains bytes that are not text.") from None
        return event

    def _skip(self, event: yaml.Event) -> None:
        depth = 0
        while True:
            # What comes later may refer to it.
            if getattr(event, "anchor", None) and not isinstance(event, yaml.AliasEvent):
                self._nodes = 0
                self._value(event)
            else:
                depth += isinstance(event, yaml.CollectionStartEvent)
                depth -= isinstance(event, yaml.CollectionEndEvent)
            if not depth:
                return
            event = self._event()

    def _value(self, event: yaml.Event, depth: int = 0) -> Any:
        self._count_nodes(1, event, depth)
        anchor: str | None = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            anchored = self._anchored.get(anchor or "")
            if anchored is None:
                message = f"Nothing is called *{(anchor or '')[:40]} before this."
                raise UnreadableFile(message, row=_line_number(event.start_mark))
            # A few nested aliases can stand for billions of values.
            self._count_nodes(anchored.nodes, event, depth)
            return anchored.value
        before = self._nodes
        value = self._value_itself(event, depth)
        if anchor:
            self._anchored[anchor] = AnchoredValue(value, self._nodes - before + 1)
        return value

    def _count_nodes(self, nodes: int, event: yaml.Event, depth: int) -> None:
        self._nodes += nodes
        # A consumer is held in memory as a whole.
        if self._nodes > MAX_CONSUMER_NODES or depth > MAX_YAML_DEPTH:
            raise UnreadableFile("There is too much in here.", row=_line_number(event.start_mark))

    def _value_itself(self, event: yaml.Event, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return None if event.implicit[0] and event.value in YAML_NULLS else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return [*self._values(depth)]
        values = self._values(depth)
        mapped: dict[str, Any] = {}
        for key, value in zip(values, values, strict=True):
            # <<: fields of another mapping, where there are none of its own
            if key == "<<" and isinstance(value, dict):
                mapped = value | mapped
            else:
                mapped[str(key)] = value
        return mapped

    def _values(self, depth: int) -> Iterator[Any]:
        """Give the values of the collection that has just begun."""
        while not isinstance(event := self._event(), yaml.CollectionEndEvent):
            yield self._value(event, depth + 1)


def _line_number(mark: Any) -> int:
    """Return the line counted from 1; 0 if it is not known."""
    return mark.line + 1 if mark else 0
