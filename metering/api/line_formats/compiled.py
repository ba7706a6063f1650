"""Compiled formats: a definition's pointers as functions, made once, that make calls of records."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from fnmatch import translate
from typing import Any

from metering.api import facts
from metering.api.decoding import ItemRejected
from metering.api.facts import NO_VALUE_TEXTS
from metering.api.line_formats.definition import (
    DURATION_UNITS,
    STATUS_RANGE,
    CountWhen,
    FormatDefinition,
    Pointer,
    Pointers,
    typed,
)
from metering.api.line_formats.lines import LineReader, Record, RecordPlace
from metering.api.line_formats.moments import MomentReader, moment_reader
from metering.api.quantities import read_quantity
from metering.api.revenium.naming import owner_names
from metering.api.transactions import AcceptanceWindow, checked_key_fields
from metering.inbox.calls import (
    ONE_CALL,
    Call,
    call_without_found_keys,
    digest_of_parts,
    public_id_fields,
    strip_url_to_path,
)
from metering.inbox.redaction import CallerKey
from revcred.fingerprints import fingerprint_hex
from revcred.redaction import MIN_SECRET_CHARACTERS, KeyCandidates

Getter = Callable[[Any], Any]  # returns None where there is no value
MAX_ID_CHARACTERS = 200
NO_VALUES = (None, "", "-")  # no set: a value may be a list
CONTENT_LABEL = "line"
# Together they fit into metadata, whatever characters they have.
MAX_SHORT_CHARACTERS = 100
MAX_SHORT_TEXTS = 5
LINE_ID_PREFIX = "line-"
MOMENT_MESSAGE = "It is no moment that this format reads."


class CompiledFormat:
    """A definition as functions. One serves all threads."""

    def __init__(self, name: str, version: int, definition: FormatDefinition) -> None:
        """Prepare to read. The definition has been checked."""
        self.name, self.version, self.definition = name, version, definition
        own, from_caller = definition.transaction_id, definition.transaction_id_from_caller
        self._own_id, self._caller_id = _getter(own), _getter(from_caller)
        self._has_ids = bool(own or from_caller)
        self._moments = [
            (_getter((pointer,)), moment_reader(pointer, definition.time_zone))
            for pointer in typed(definition.occurred_at)
        ]
        self._key, self._credential = _getter(definition.key), _getter(definition.credential)
        self._named = [
            (column, _getter(pointers))
            for column, pointers in (
                ("subscription_named", definition.subscription),
                ("source_named", definition.source),
            )
            if pointers
        ]
        self._facts = _fact_getters(definition)
        self._path_and_status = [
            get for column, get, _ in self._facts if column in ("path", "status")
        ]
        self._latencies = [
            (_getter((pointer,)), DURATION_UNITS.get(pointer.unit, 1.0))
            for pointer in typed(definition.latency_ms)
        ]
        self._owners = {
            name: _getter(pointers)
            for name in definition.owners.__struct_fields__
            if (pointers := getattr(definition.owners, name))
        }
        self._elements = [(name, _getter(places)) for name, places in definition.elements.items()]
        self._metadata = [(name, _getter(places)) for name, places in definition.metadata.items()]
        self._is_other = _condition_against(definition)
        self._line_reader = LineReader(definition)
        self._label = f"{name} {version}"

    def call_of(
        self,
        record: Record,
        place: RecordPlace,
        window: AcceptanceWindow,
        counts: Counter[str],
    ) -> Call | None:
        """Return the call that a record is, with its key in clear; None if it does not count.

        `counts`: how often each content came in the same post.

        Raises:
            ItemRejected: a decisive fact is wrong or missing.
        """
        columns: dict[str, Any] = {}
        for column, get, read in self._facts:
            value = get(record)
            if value is not None:
                try:
                    columns[column] = read(value)
                except facts.UnreadableFact:
                    columns[column] = None
        if self._is_other is not None and self._is_other(record, columns):
            return None
        occurred_at = self.moment_of(record, place.moment)
        window.check(occurred_at)
        for column, get in self._named:
            value = get(record)
            if value is not None:
                columns[column] = _checked_text(column.removesuffix("_named"), value)
        content = content_of_text(place.text)
        if self._latencies:
            columns["latency_ms"] = self._latency_of(record)
        own_id, caller_id = self._own_id(record), self._caller_id(record)
        if own_id is None and caller_id is not None:
            # Another call of the same id has another of these; a repeat has the same.
            columns["distinguished_by"] = digest_of_parts(
                occurred_at,
                columns.get("method"),
                # As it is stored: the query may be gone where the line is tried again.
                strip_url_to_path(columns["path"]) if columns.get("path") else None,
                columns.get("status"),
            )
        key, credential = self._key(record), self._credential(record)
        call = Call(
            transaction_id=_id_of(
                own_id if own_id is not None else caller_id, place, content, counts
            ),
            occurred_at=occurred_at,
            elements=self._quantities_of(record) if self._elements else ONE_CALL,
            metadata=self._metadata_of(record),
            content=content,
            names=(
                owner_names(**{name: get(record) for name, get in self._owners.items()})
                if self._owners
                else None
            ),
            **columns,
            **_key_fields(key, credential),
        )
        if key is not None and credential is not None:
            return _without_key(call, str(key))
        return call

    def records_in(self, line: str) -> list[tuple[Record, str]]:
        """Return the records of a line, each with its text; none of a comment or a head.

        Raises:
            ItemRejected: the line cannot be read.
        """
        return self._line_reader.records_in(line)

    def is_of_call(self, record: Record) -> bool:
        """Return True if two of these are in a record: id, key or credential, path, status.

        What a gateway logs beside its calls has no two of them.
        """
        own_id, _ = self.id_in(record)
        found = [
            own_id is not None,
            any(each is not None for each in self.keys_in(record)),
            *(get(record) is not None for get in self._path_and_status),
        ]
        return sum(found) > 1

    def moment_of(self, record: Record, otherwise: datetime | None = None) -> datetime:
        """Return the moment of a record in UTC, or else the other one. Raises ItemRejected."""
        for get, read in self._moments:
            value = get(record)
            if value is not None:
                return _read_moment(read, value)
        if otherwise is not None:
            return otherwise
        raise ItemRejected("occurred_at", "missing", "There is no moment in it.")

    @property
    def sought_fields(self) -> set[str]:
        """Return the fields of the definition that have pointers."""
        return {field for field, _ in self.definition.pointers()}

    def unread_names(self, line: str) -> list[str]:
        """Return the members of a line that no pointer leads to, none of a line it cannot read."""
        pointers = {pointer.steps[:2] for _, pointer in self.definition.pointers()}
        pointers |= {Pointer(place).steps[:2] for place in self.definition.count_when.texts}
        first_steps = {steps[0] for steps in pointers}
        try:
            records = self.records_in(line)
        except ItemRejected:
            return []
        names: dict[str, None] = {}
        for record, _ in records:
            for name, value in record.items():
                if name not in first_steps:
                    names[name] = None
                elif isinstance(value, dict):
                    inner = [each for each in value if (name, each) not in pointers]
                    names |= dict.fromkeys(f"{name}/{each}" for each in inner)
        return list(names)

    def id_in(self, record: Record) -> tuple[Any, bool]:
        """Return the id that a record has, or None, and whether a caller may have chosen it."""
        own = self._own_id(record)
        return (own, False) if own is not None else (self._caller_id(record), True)

    def keys_in(self, record: Record) -> tuple[Any, Any]:
        """Return what the caller sent as key, and what the gateway put there; each may be None."""
        return self._key(record), self._credential(record)

    def _latency_of(self, record: Record) -> float | None:
        for get, factor in self._latencies:
            value = get(record)
            if value is not None:
                latency: float | None = facts.read_or_none(facts.read_latency, value)
                if latency is not None:
                    return round(latency * factor, 6)
        return None

    def _metadata_of(self, record: Record) -> dict[str, Any]:
        metadata: dict[str, Any] = {"format": self._label}
        is_small = True
        for name, get in self._metadata:
            value = get(record)
            if value is not None:
                is_small = is_small and type(value) is str and len(value) <= MAX_SHORT_CHARACTERS
                metadata[name] = value
        # A few short texts fit in any case.
        if is_small and len(metadata) <= MAX_SHORT_TEXTS:
            return metadata
        return facts.fit_metadata(metadata)

    def _quantities_of(self, record: Record) -> dict[str, Any]:
        quantities = dict(ONE_CALL)
        for name, get in self._elements:
            value = get(record)
            if value is not None:
                quantities[name] = read_quantity(value, f"elements.{name}")
        return quantities


def _read_moment(read: MomentReader, value: Any) -> datetime:
    try:
        return read(value)
    except (ValueError, OverflowError, TypeError) as error:
        raise ItemRejected("occurred_at", "invalid", MOMENT_MESSAGE) from error


def _id_of(value: Any, place: RecordPlace, content: str, counts: Counter[str]) -> str:
    """Return the record's own id, that of its line, or one made of its content.

    Equal records without ids are told apart by their number in the post: a post that is sent again
    has them in the same order, so that each gets the same id.
    """
    if value is not None:
        return _checked_text("transaction_id", value)
    if place.line_id is not None:
        return place.line_id
    return id_of_content(content, counts)


def content_of_text(text: str) -> str:
    """Return the keyed hash of a record's text, which its repeats have, too."""
    return fingerprint_hex(text, label=CONTENT_LABEL)


def id_of_content(content: str, counts: Counter[str]) -> str:
    """Return the id of the next record of this content in a post."""
    counts[content] += 1
    count = counts[content]
    return f"{LINE_ID_PREFIX}{content}-{count}" if count > 1 else f"{LINE_ID_PREFIX}{content}"


def _checked_text(field: str, value: Any) -> str:
    if type(value) is not str:
        if isinstance(value, bool | float) or not isinstance(value, int):
            raise ItemRejected(field, "invalid", "It is neither a text nor a whole number.")
        value = str(value)
    if len(value) > MAX_ID_CHARACTERS:
        message = f"It has more than {MAX_ID_CHARACTERS} characters."
        raise ItemRejected(field, "too_long", message)
    text: str = value
    return text


def _key_fields(key: Any, credential: Any) -> dict[str, Any]:
    """Return the fields of a call that say whose it is: what the gateway put there goes first."""
    key_fields = {} if key is None else checked_key_fields("key", _key_text("key", key))
    if credential is None:
        return key_fields
    text = _key_text("credential", credential)
    named = public_id_fields(text)
    return key_fields | (named or checked_key_fields("credential", text))


def _key_text(field: str, value: Any) -> str:
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        raise ItemRejected(field, "invalid", "It is neither a text nor a whole number.")
    return str(value)


def _without_key(call: Call, key: str) -> Call:
    """Return a call that is known by an alias without the key that the caller sent."""
    text = key.strip()
    if len(text) < MIN_SECRET_CHARACTERS or call.key == CallerKey(text):
        return call
    return call_without_found_keys(call, KeyCandidates({text}, set()))


# --- Pointers as functions ------------------------------------------------------------------------


def _getter(pointers: Pointers) -> Getter:
    """Return the function that returns the first value the pointers lead to, or None."""
    all_pointers = list(typed(pointers))
    if not all_pointers:
        return _no_value
    if all(len(each.steps) == 1 and not each.capture for each in all_pointers):
        return _member_getter(tuple(each.steps[0] for each in all_pointers))
    getters = [_pointer_getter(each) for each in all_pointers]
    if len(getters) == 1:
        return getters[0]

    def first_value(record: Any) -> Any:
        for get in getters:
            value = get(record)
            if value is not None:
                return value
        return None

    return first_value


def _no_value(record: Any) -> None:
    return None


def _member_getter(names: tuple[str, ...]) -> Getter:
    def first_member(record: Any) -> Any:
        for name in names:
            value = record.get(name)
            if value not in NO_VALUES:
                if type(value) is list:
                    value = _single(value)
                if value is not None and type(value) is not dict:
                    return value
        return None

    return first_member


def _pointer_getter(pointer: Pointer) -> Getter:
    steps, expression = pointer.steps, re.compile(pointer.capture) if pointer.capture else None

    def value_at(record: Any) -> Any:
        value = record
        for step in steps:
            if type(value) is dict:
                value = value.get(step)
            elif type(value) is list and step.isdigit():
                value = value[int(step)] if int(step) < len(value) else None
            else:
                return None
        value = _single(value) if type(value) is list else value
        if expression is not None and value is not None:
            found = expression.search(value) if type(value) is str else None
            value = found[1] if found else None
        # An object is no value of any fact.
        return None if type(value) is dict or value in NO_VALUE_TEXTS else value

    return value_at


def _single(values: list[Any]) -> Any:
    """Return the first of several values, as of a header that was sent twice."""
    value = values[0] if values else None
    return None if isinstance(value, dict | list) or value in NO_VALUE_TEXTS else value


def _fact_getters(
    definition: FormatDefinition,
) -> list[tuple[str, Getter, facts.FactReader]]:
    return [
        (column, _getter(pointers), read)
        for column, pointers, read in (
            ("method", definition.method, facts.read_method),
            ("path", definition.path, facts.read_path),
            ("status", definition.status, _read_status),
            ("request_bytes", definition.request_bytes, facts.read_size),
            ("response_bytes", definition.response_bytes, facts.read_size),
        )
        if pointers
    ]


def _read_status(value: Any) -> int | None:
    # The three digits of nearly all lines, without the steps that odd numbers need.
    if type(value) is str and len(value) == 3 and value.isdecimal():  # noqa: PLR2004
        value = int(value)
    if type(value) is int and 100 <= value < 600:  # noqa: PLR2004
        return value
    return facts.read_status(value)


def _condition_against(
    definition: FormatDefinition,
) -> Callable[[Record, Mapping[str, Any]], bool] | None:
    """Return the function that tells a record that does not count; None if all count."""
    count_when = definition.count_when
    if count_when == CountWhen():
        return None
    statuses = {code for text in count_when.statuses for code in _statuses_in(text)}
    methods = {method.upper() for method in count_when.methods}
    texts = [
        (_getter((pointer,)), re.compile("|".join(map(translate, patterns))))
        for pointer, patterns in count_when.texts.items()
    ]

    def is_other(record: Record, columns: Mapping[str, Any]) -> bool:
        for get, expression in texts:
            if not expression.match(str(get(record) or "")):
                return True
        if methods and (columns.get("method") or "").upper() not in methods:
            return True
        if not statuses:
            return False
        status = columns.get("status")
        if status is None:
            # Whether it failed is not known, so that it can neither be counted nor ignored.
            message = "The format counts calls by their status, and there is none."
            raise ItemRejected("status", "missing", message)
        return status not in statuses

    return is_other


def _statuses_in(text: str) -> range:
    found = STATUS_RANGE.fullmatch(text)
    assert found
    if found["class"]:
        return range(int(found["class"]) * 100, int(found["class"]) * 100 + 100)
    return range(int(found["first"]), int(found["last"] or found["first"]) + 1)
