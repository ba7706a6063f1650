"""YAML: a list of records, an object that holds one, or several documents.

Gateways dump all that they have. Of Kong's and APISIX's dumps only the consumers are read, one at
a time in memory; any other document is read whole.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import yaml
from django.utils.translation import gettext_noop

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.foreign import EXPORT_FORMATS, kong
from revcred.uploads.reading.json_documents import items_of_object
from revcred.uploads.reading.list_reader import ListReader, RowError, UnreadableFile
from revcred.uploads.reading.records import (
    NumberedRecord,
    decode_record,
    read_export,
    read_records,
)
from revcred.uploads.reading.row_copiers import YamlCopier

MAX_YAML_BYTES = 50_000_000  # bytes
MAX_YAML_DEPTH = 20
# A long text counts as several nodes, and what aliases stand for counts each time.
MAX_RECORD_NODES = 10_000  # of one record
MAX_DOCUMENT_NODES = 2_000_000  # of a file that is read whole
CHARACTERS_PER_NODE = 25
CONSUMERS_LOOKED_AT = 20  # by which a gateway's dump is recognised

NO_RECORDS = gettext_noop(
    "There is no record in here. Write a list of records, each with its fields."
)
YAML_NULLS = {"", "~", "null", "Null", "NULL"}
YAML_BOOLEANS = {"true": True, "false": False}
TOP_LEVEL_NAME = re.compile(rb"""^["']?(\w+)["']?[ \t]*:""")
CONSUMER_LISTS = frozenset({"consumers", *kong.CREDENTIAL_TYPES})


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
    copier = YamlCopier()
    with path.open("rb") as file:
        lists = _consumer_lists_in(file)
        consumers = _ConsumerReader(file, lists).consumers() if lists else iter(())
        first = [*islice(consumers, CONSUMERS_LOOKED_AT)]
        foreign = next(
            (each for each in EXPORT_FORMATS if any(each.fits(item) for _, item in first)), None
        )
        if foreign:
            copier.name = "consumers"
            passed = _passed_to(copier, chain(first, consumers))
            yield read_export(foreign, "YAML", passed, lambda: file.tell() / size, copier)
        else:
            file.seek(0)
            records = _records_of_documents(file, copier)
            yield read_records("YAML", records, lambda: 1.0, copier)


def _consumer_lists_in(file: BinaryIO) -> set[str]:
    """Return the lists of consumers and of their credentials that begin a line of the file."""
    names = {found[1].decode() for line in file if (found := TOP_LEVEL_NAME.match(line))}
    file.seek(0)
    return names & CONSUMER_LISTS


def _passed_to(copier: YamlCopier, consumers: Iterator[NumberedRecord]) -> Iterator[NumberedRecord]:
    for number, consumer in consumers:
        copier.pass_record(consumer)
        is_object = isinstance(consumer, dict)
        yield (
            number,
            consumer if is_object else RowError("", gettext_noop("This is not an object.")),
        )


def _records_of_documents(
    file: BinaryIO, copier: YamlCopier
) -> Callable[[], Iterator[NumberedRecord]]:
    """Read the whole file. Return a function that gives its records from the start at each call.

    Raises UnreadableFile.
    """
    items, documents = _DocumentReader(file).items_and_documents()
    if not items and len(documents) == 1:
        listed = items_of_object(documents[0].decode())
        copier.name, copier.is_single, items = listed.name, listed.is_single, listed.items
    elif documents:
        copier.is_stream = not items
        items += documents
    if not items:
        raise UnreadableFile(NO_RECORDS)

    def records() -> Iterator[NumberedRecord]:
        for number, item in enumerate(items, start=1):
            copier.pass_record(item)
            yield number, decode_record(item)

    return records


class _EventReader:
    """Reads values from the parser's events: aliases are followed within limits."""

    def __init__(self, file: BinaryIO) -> None:
        # Events instead of a document: a dump of a gateway may be far larger than its consumers.
        self._events = yaml.parse(file, Loader=yaml.CSafeLoader)
        self._anchored: dict[str, AnchoredValue] = {}
        self._nodes = 0
        self._most_nodes = MAX_RECORD_NODES

    def _event(self) -> yaml.Event:
        try:
            event = next(self._events)
        except yaml.MarkedYAMLError as error:
            message = f"This is not YAML: {error.problem}."
            raise UnreadableFile(message, row=_line_number(error.problem_mark)) from None
        except yaml.YAMLError:
            raise UnreadableFile(
                gettext_noop("This is not YAML: it contains bytes that are not text.")
            ) from None
        return event

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
        # A record is held in memory as a whole.
        if self._nodes > self._most_nodes or depth > MAX_YAML_DEPTH:
            raise UnreadableFile(
                gettext_noop("There is too much in here."), row=_line_number(event.start_mark)
            )

    def _value_itself(self, event: yaml.Event, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            self._count_nodes(len(event.value) // CHARACTERS_PER_NODE, event, depth)
            return _scalar_value(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return [*self._values(depth)]
        values = self._values(depth)
        mapped: dict[str, Any] = {}
        for key, value in zip(values, values, strict=True):
            # <<: fields of other mappings, where there are none of its own
            merged = value if isinstance(value, list) else [value]
            if key == "<<" and all(isinstance(each, dict) for each in merged):
                for each in merged:
                    mapped = each | mapped
            else:
                mapped[str(key)] = value
        return mapped

    def _values(self, depth: int) -> Iterator[Any]:
        """Give the values of the collection that has just begun."""
        while not isinstance(event := self._event(), yaml.CollectionEndEvent):
            yield self._value(event, depth + 1)


class _ConsumerReader(_EventReader):
    """Reads the consumers of a gateway's dump, one at a time in memory.

    `lists`: the lists of consumers and of their credentials that the file has.
    """

    def __init__(self, file: BinaryIO, lists: set[str]) -> None:
        super().__init__(file)
        self._export = kong.DatabaseExport(lists)

    def consumers(self) -> Iterator[tuple[int, Any]]:
        """Give each consumer with the line it begins in. Raises UnreadableFile."""
        while not isinstance(event := self._event(), yaml.MappingStartEvent):
            if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
                return
        while not isinstance(key := self._event(), yaml.MappingEndEvent):
            value = self._event()
            name = key.value if isinstance(key, yaml.ScalarEvent) else ""
            if name not in CONSUMER_LISTS or not isinstance(value, yaml.SequenceStartEvent):
                self._skip(value)
                continue
            for line, item in self._items():
                if name != "consumers":
                    yield line, self._export.with_consumer(name, item)
                elif not self._export.remember(item):
                    yield line, item
        for consumer in self._export.consumers_without_credentials():
            yield 0, consumer

    def _items(self) -> Iterator[tuple[int, Any]]:
        while not isinstance(event := self._event(), yaml.SequenceEndEvent):
            self._nodes = 0
            yield _line_number(event.start_mark), self._value(event)

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


class _DocumentReader(_EventReader):
    """Reads all documents of a file as JSON, which takes a fraction of the memory."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._all_nodes = 0

    def items_and_documents(self) -> tuple[list[bytes], list[bytes]]:
        """Return the items of documents that are lists, and the documents that are objects.

        Raises UnreadableFile, also if a document is neither.
        """
        items: list[bytes] = []
        documents: list[bytes] = []
        while not isinstance(event := self._event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.SequenceStartEvent):
                items += map(bytes, self._encoded_items())
            elif isinstance(event, yaml.MappingStartEvent):
                documents.append(msgspec.json.encode(self._document()))
            elif isinstance(event, yaml.ScalarEvent) and event.value:
                raise UnreadableFile(NO_RECORDS, row=_line_number(event.start_mark))
        return items, documents

    def _document(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while not isinstance(key := self._event(), yaml.MappingEndEvent):
            name, value = str(self._counted_value(key)), self._event()
            is_list = isinstance(value, yaml.SequenceStartEvent) and not value.anchor
            fields[name] = [*self._encoded_items()] if is_list else self._counted_value(value)
        return fields

    def _encoded_items(self) -> Iterator[msgspec.Raw]:
        while not isinstance(event := self._event(), yaml.SequenceEndEvent):
            item = self._counted_value(event, most=MAX_RECORD_NODES)
            yield msgspec.Raw(msgspec.json.encode(item))

    def _counted_value(self, event: yaml.Event, *, most: int = MAX_DOCUMENT_NODES) -> Any:
        self._nodes = 0
        self._most_nodes = min(most, MAX_DOCUMENT_NODES - self._all_nodes)
        value = self._value(event)
        self._all_nodes += self._nodes
        return value


def _scalar_value(event: yaml.ScalarEvent) -> Any:
    """Return text as it is written, also of numbers; None and booleans only without quotes."""
    if not event.implicit[0]:
        return event.value
    return None if event.value in YAML_NULLS else YAML_BOOLEANS.get(event.value, event.value)


def _line_number(mark: Any) -> int:
    """Return the line counted from 1; 0 if it is not known."""
    return mark.line + 1 if mark else 0
