"""Decoder of OpenTelemetry's log records and spans, JSON or protobuf.

Each record is decoded by itself, so that one that cannot be read spoils no other.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

import msgspec
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage

from metering.api.decoding import MAX_ITEMS_PER_BODY, ItemRejected, rejection_from_msgspec
from metering.api.revenium import unsound_text
from revcred.api.errors import BodyTooLarge, MalformedRequest

T = TypeVar("T")

REVENIUM_PREFIX = "revenium."
TOKEN_ATTRIBUTE = "revenium.api_key"  # noqa: S105 - the name of an attribute
# Before the token is found anybody may have sent the body: no more of it is inflated and parsed.
MAX_BYTES_BEFORE_TOKEN = 64_000
FIRST_RESOURCE = re.compile(r'\s*\{\s*"resource(?:Logs|Spans)"\s*:\s*\[\s*\{\s*"resource"\s*:\s*')
LATENCY_ATTRIBUTE = "duration_ms"
NANOSECONDS_PER_MILLISECOND = 1_000_000
HEX_DIGITS = re.compile(r"[0-9A-Fa-f]{1,64}")
ID_ATTRIBUTES = ("transaction.id", "transaction_id", "log.record.uid")
# Older exporters send an event's name as the body, where others send a sentence.
EVENT_NAME_PATTERN = re.compile(r"[A-Za-z][\w-]*(?:\.[\w-]+)*")
# Escaped backslashes and whole surrogate pairs match first, so that only halves of a pair are left
# for the group `half`.
SURROGATE_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][\da-fA-F]{2})"
)
MAX_VALUE_LEVELS = 32  # of lists and objects within each other
LIST_KINDS = {"arrayValue", "array_value"}
OBJECT_KINDS = {"kvlistValue", "kvlist_value"}
SCALAR_TYPES = (str, int, float, bytes)
FIRST_FIELD_TAG = 0x0A  # protobuf: field number 1, wire type 2 (a length follows)
MAX_VARINT_BYTES = 5  # of a length below 2^32


class KeyValue(msgspec.Struct):
    """An attribute of OTLP's JSON."""

    key: str = ""
    value: Any = None  # such as {"stringValue": "…"}


class LogResource(msgspec.Struct):
    attributes: list[KeyValue] | None = None


class LogRecord(msgspec.Struct, rename="camel"):
    """A log record of OTLP's JSON. Moments are nanoseconds since 1970; 0 means unknown."""

    time_unix_nano: int | None = 0
    observed_time_unix_nano: int | None = 0
    event_name: Any = ""
    body: Any = None
    attributes: list[KeyValue] | None = None


class InstrumentationScope(msgspec.Struct):
    name: Any = ""


class Span(msgspec.Struct, rename="camel"):
    """A span of OTLP's JSON. Ids are hexadecimal digits, moments as those of log records."""

    trace_id: Any = ""
    span_id: Any = ""
    name: Any = ""
    start_time_unix_nano: int | None = 0
    end_time_unix_nano: int | None = 0
    attributes: list[KeyValue] | None = None


class ScopeLogs(msgspec.Struct, rename="camel"):
    scope: InstrumentationScope | None = None
    log_records: list[msgspec.Raw] | None = None


class ScopeSpans(msgspec.Struct):
    scope: InstrumentationScope | None = None
    spans: list[msgspec.Raw] | None = None


class ResourceLogs(msgspec.Struct, rename="camel"):
    resource: msgspec.Raw = msgspec.field(default_factory=partial(msgspec.Raw, b"null"))
    scope_logs: list[msgspec.Raw] | None = None


class ResourceSpans(msgspec.Struct, rename="camel"):
    resource: msgspec.Raw = msgspec.field(default_factory=partial(msgspec.Raw, b"null"))
    scope_spans: list[msgspec.Raw] | None = None


class LogsData(msgspec.Struct, rename="camel"):
    resource_logs: list[msgspec.Raw] | None = None


class TracesData(msgspec.Struct, rename="camel"):
    resource_spans: list[msgspec.Raw] | None = None


class DocumentedLogs(msgspec.Struct, rename="camel"):
    """The body as the OpenAPI page shows it; the decoders read it level by level instead."""

    class OfResource(msgspec.Struct, rename="camel"):
        class OfScope(msgspec.Struct, rename="camel"):
            log_records: list[LogRecord] = []

        resource: LogResource | None = None
        scope_logs: list[OfScope] = []

    resource_logs: list[OfResource] = []


class DocumentedTraces(msgspec.Struct, rename="camel"):
    """The body as the OpenAPI page shows it; the decoders read it level by level instead."""

    class SpansOfResource(msgspec.Struct, rename="camel"):
        class SpansOfScope(msgspec.Struct):
            spans: list[Span] = []

        resource: LogResource | None = None
        scope_spans: list[SpansOfScope] = []

    resource_spans: list[SpansOfResource] = []


class Attributes(dict[str, Any]):
    """Attributes by their names, and the names that stood there twice with different values."""

    doubled: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pairs: Iterable[Any] | None) -> "Attributes":
        """Raises ItemRejected."""
        attributes, doubled = cls(), set()
        for pair in pairs or ():
            value = _plain_value(pair.value)
            if pair.key in attributes and attributes[pair.key] != value:
                doubled.add(pair.key)
            attributes[pair.key] = value
        if doubled:
            attributes.doubled = frozenset(doubled)
        return attributes


@dataclass(frozen=True, kw_only=True)
class ParsedLogRecord:
    """A log record or span, and the attributes of its resource. Moments in nanoseconds."""

    at: int
    observed_at: int
    name: str
    scope: str
    body: Any
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    resource_number: int  # which of the body's resources
    # Attributes that it or its resource has twice, with different values.
    doubled: frozenset[str] = frozenset()
    span_id: str = ""  # of a span: those of its trace and its own

    def own_attribute(self, names: Iterable[str]) -> str | None:
        """Return the first of these attributes that the record itself has, as text."""
        return _first_attribute(attribute_spellings(names), self.attributes)

    def attribute(self, names: Iterable[str]) -> str | None:
        """Return the first of these attributes, of each the record's before the resource's."""
        return _first_attribute(attribute_spellings(names), self.attributes, self.resource)

    def configured_attribute(self, names: Iterable[str]) -> str | None:
        """Return the first of these attributes that is there, the resource's before the record's.

        An operator configures the resource; a program makes up what is in its records.
        """
        spellings = attribute_spellings(names)
        return _first_attribute(spellings, self.resource) or self.own_attribute(names)

    @property
    def transaction_id(self) -> str | None:
        """The record's own id. One in the resource would be that of all its records."""
        return self.own_attribute(ID_ATTRIBUTES)


def attribute_spellings(names: Iterable[str]) -> Iterator[str]:
    """Yield each name, and the same with the prefix that Revenium's clients use."""
    for name in names:
        yield from (name, REVENIUM_PREFIX + name)


def _first_attribute(names: Iterable[str], *attributes: Mapping[str, Any]) -> str | None:
    for name in names:
        for members in attributes:
            value = members.get(name)
            if isinstance(value, str | int) and value != "":
                return str(value)
    return None


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A kind of telemetry: how its bodies are decoded, and what makes a record of an item.

    `resources`, `scopes` and `items` are the members of the three levels of a body.
    """

    resources: str
    scopes: str
    items: str
    message: type[Message]
    decode_data: Callable[[Any], Any]
    decode_resource_items: Callable[[Any], Any]
    decode_scope_items: Callable[[Any], Any]
    decode_item: Callable[[Any], Any]
    build: "Callable[[Any, Any, Attributes, int], ParsedLogRecord]"


def decode_records(
    body: bytes, signal: Signal, *, protobuf: bool
) -> list[ParsedLogRecord | ItemRejected]:
    """Return each record of a body, or its rejection, in the order of the body.

    Raises:
        MalformedRequest: the body cannot be split into records.
        BodyTooLarge: it has more than MAX_ITEMS_PER_BODY records.
    """
    # One more than allowed is enough to tell: the rest is not even decoded.
    split = _records_of_protobuf if protobuf else _records_of_json
    records = list(islice(split(body, signal), MAX_ITEMS_PER_BODY + 1))
    if len(records) > MAX_ITEMS_PER_BODY:
        raise BodyTooLarge(
            f"At most {MAX_ITEMS_PER_BODY:,} records at once. Send them in parts.", code="too_many"
        )
    return records


def _records_of_protobuf(body: bytes, signal: Signal) -> Iterator[ParsedLogRecord | ItemRejected]:
    """Yield each record, or its rejection. Raises MalformedRequest."""
    data = _sound_message(body, signal)
    for number, of_resource in enumerate(getattr(data, signal.resources)):
        try:
            resource = Attributes.of(of_resource.resource.attributes)
            resource_rejection = None
        except ItemRejected as rejection:
            resource, resource_rejection = Attributes(), rejection
        for of_scope in getattr(of_resource, signal.scopes):
            for item in getattr(of_scope, signal.items):
                # Without its resource a record would be charged to somebody else, or to nobody.
                yield resource_rejection or _record_or_rejection(
                    signal.build, item, of_scope.scope.name, resource, number
                )


def _sound_message(body: bytes, signal: Signal) -> Any:
    """Raises MalformedRequest."""
    data = signal.message()
    try:
        try:
            data.ParseFromString(body)
        except DecodeError:
            data.ParseFromString(unsound_text.mended(body, signal.message))
    except DecodeError as error:
        raise MalformedRequest("The body is not OTLP's protobuf.") from error
    return data


def _records_of_json(body: bytes, signal: Signal) -> Iterator[ParsedLogRecord | ItemRejected]:
    """Yield each record, or its rejection. Raises MalformedRequest."""
    try:
        data = _decode_part(signal.decode_data, body)
    except ItemRejected as rejection:
        where = f"{rejection.field}: " if rejection.field else ""
        code = rejection.code if rejection.code == "too_deep" else "malformed"
        raise MalformedRequest(f"{where}{rejection.message}", code=code) from rejection
    for number, raw in enumerate(getattr(data, signal.resources) or ()):
        yield from _records_of_resource(raw, number, signal)


def _replace_broken_text(body: bytes) -> bytes:
    """Return the body with U+FFFD for broken characters: some clients cut prompts within one."""
    body = body.decode(errors="replace").encode()
    return SURROGATE_ESCAPES.sub(lambda match: rb"\ufffd" if match["half"] else match[0], body)


def _records_of_resource(
    raw: msgspec.Raw, number: int, signal: Signal
) -> Iterator[ParsedLogRecord | ItemRejected]:
    try:
        of_resource = _decode_part(signal.decode_resource_items, raw)
    except ItemRejected as rejection:
        yield rejection
        return
    try:
        resource, resource_rejection = Attributes.of(_resource_attributes(of_resource)), None
    except ItemRejected as rejection:
        resource, resource_rejection = Attributes(), rejection
    for raw_scope in getattr(of_resource, signal.scopes) or ():
        try:
            of_scope = _decode_part(signal.decode_scope_items, raw_scope)
        except ItemRejected as rejection:
            yield rejection
            continue
        scope = of_scope.scope.name if of_scope.scope else ""
        for raw_item in getattr(of_scope, signal.items) or ():
            yield resource_rejection or _record_or_rejection(
                _record_of_json, raw_item, scope, resource, number, signal
            )


def _record_or_rejection(
    make: Callable[..., ParsedLogRecord], *arguments: Any
) -> ParsedLogRecord | ItemRejected:
    try:
        return make(*arguments)
    except ItemRejected as rejection:
        return rejection


def _resource_attributes(of_resource: ResourceLogs | ResourceSpans) -> list[KeyValue] | None:
    """Return the attributes of a resource. Raises ItemRejected."""
    resource = _decode_part(_decode_resource, of_resource.resource)
    return resource.attributes if resource else None


def _decode_part(decode: Callable[[Any], T], raw: bytes | msgspec.Raw) -> T:
    """Return a decoded part of a body, mended if it has broken text. Raises ItemRejected."""
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        raise rejection_from_msgspec(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Mending reads all of the body again, so that it is tried only where decoding failed.
        mended = _replace_broken_text(bytes(raw))
        if mended != bytes(raw):
            return _decode_part(decode, mended)
        raise ItemRejected(None, "malformed", f"It is not JSON: {error}.") from error
    except RecursionError as error:
        raise ItemRejected(None, "too_deep", "The JSON is nested too deeply.") from error


# One decoder for each level of the tree. They leave the level below raw, so that an error in a
# record is that record's alone.
def _lenient(item: Any) -> Callable[[Any], Any]:
    return msgspec.json.Decoder(item, strict=False).decode


_decode_resource = _lenient(LogResource | None)


def _record_of_json(
    raw: msgspec.Raw, scope: Any, resource: Attributes, number: int, signal: Signal
) -> ParsedLogRecord:
    """Raises ItemRejected."""
    return signal.build(_decode_part(signal.decode_item, raw), scope, resource, number)


def _build_span(span: Any, scope: Any, resource: Attributes, number: int) -> ParsedLogRecord:
    attributes = Attributes.of(span.attributes)
    begin, end = span.start_time_unix_nano or 0, span.end_time_unix_nano or 0
    if begin and end >= begin:
        attributes.setdefault(LATENCY_ATTRIBUTE, (end - begin) / NANOSECONDS_PER_MILLISECOND)
    ids = [_hex_digits(span.trace_id), _hex_digits(span.span_id)]
    return ParsedLogRecord(
        at=begin or end,
        observed_at=0,
        name=span.name if isinstance(span.name, str) else "",
        scope=scope if isinstance(scope, str) else "",
        body=None,
        attributes=attributes,
        resource=resource,
        resource_number=number,
        doubled=attributes.doubled | resource.doubled,
        span_id="-".join(ids) if all(ids) else "",
    )


def _hex_digits(value: Any) -> str:
    """Return an id in hexadecimal digits, which protobuf has as bytes, or nothing."""
    text = value.hex() if isinstance(value, bytes) else value
    return text.lower() if isinstance(text, str) and HEX_DIGITS.fullmatch(text) else ""


def _build_record(record: Any, scope: Any, resource: Attributes, number: int) -> ParsedLogRecord:
    attributes = Attributes.of(record.attributes)
    body = _plain_value(record.body)
    # Exporters of different ages put an event's name in a field, an attribute or the body.
    names = (record.event_name, attributes.get("event.name"), _event_name_in_body(body))
    return ParsedLogRecord(
        at=record.time_unix_nano or 0,
        observed_at=record.observed_time_unix_nano or 0,
        name=next((name for name in names if isinstance(name, str) and name), ""),
        scope=scope if isinstance(scope, str) else "",
        body=body,
        attributes=attributes,
        resource=resource,
        resource_number=number,
        doubled=attributes.doubled | resource.doubled,
    )


LOGS = Signal(
    resources="resource_logs",
    scopes="scope_logs",
    items="log_records",
    message=ExportLogsServiceRequest,
    decode_data=_lenient(LogsData),
    decode_resource_items=_lenient(ResourceLogs),
    decode_scope_items=_lenient(ScopeLogs),
    decode_item=_lenient(LogRecord),
    build=_build_record,
)
SPANS = Signal(
    resources="resource_spans",
    scopes="scope_spans",
    items="spans",
    message=ExportTraceServiceRequest,
    decode_data=_lenient(TracesData),
    decode_resource_items=_lenient(ResourceSpans),
    decode_scope_items=_lenient(ScopeSpans),
    decode_item=_lenient(Span),
    build=_build_span,
)


def _event_name_in_body(body: Any) -> str:
    return body if isinstance(body, str) and EVENT_NAME_PATTERN.fullmatch(body[:200]) else ""


def _plain_value(value: Any, levels: int = MAX_VALUE_LEVELS) -> Any:
    """Return an AnyValue unwrapped, its lists and objects as in JSON. Raises ItemRejected."""
    if not levels:
        raise ItemRejected(
            "attributes", "too_deep", f"A value has more than {MAX_VALUE_LEVELS} levels."
        )
    kind, wrapped = _kind_and_value(value)
    if kind in LIST_KINDS:
        return [_plain_value(element, levels - 1) for element in _list_values(wrapped)]
    if kind in OBJECT_KINDS:
        pairs = (_key_and_value(pair) for pair in _list_values(wrapped))
        return {str(key): _plain_value(value, levels - 1) for key, value in pairs}
    return wrapped if isinstance(wrapped, SCALAR_TYPES) else None


def _kind_and_value(value: Any) -> tuple[str, Any]:
    if isinstance(value, Message):
        kind = cast("str | None", value.WhichOneof("value"))
        return (kind, getattr(value, kind)) if kind else ("", None)
    if isinstance(value, dict):
        return next(iter(value.items()), ("", None))
    return "", value


def _list_values(wrapped: Any) -> Iterable[Any]:
    values = wrapped.values if isinstance(wrapped, Message) else _member_of(wrapped, "values")
    return () if isinstance(values, SCALAR_TYPES) or values is None else values


def _key_and_value(pair: Any) -> tuple[Any, Any]:
    if isinstance(pair, Message):
        return pair.key, pair.value
    return _member_of(pair, "key"), _member_of(pair, "value")


def _member_of(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None


def token_in_resource(body: bytes, content_encoding: str, *, protobuf: bool) -> str:
    """Return the token among the attributes of a body's first resource, or an empty string.

    Some clients can be configured with attributes but not with headers. Since nobody is
    authenticated yet, only the beginning of the body is inflated and parsed.
    """
    beginning = _inflate_beginning(body, content_encoding.strip().lower())
    try:
        resource = (
            _first_resource_of_protobuf(beginning)
            if protobuf
            else _first_resource_of_json(beginning)
        )
        token = Attributes.of(resource).get(TOKEN_ATTRIBUTE)
    except (DecodeError, ItemRejected, ValueError, RecursionError, IndexError):
        return ""
    return token if isinstance(token, str) else ""


def _inflate_beginning(body: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"}:
        return body[:MAX_BYTES_BEFORE_TOKEN]
    try:
        # wbits=31 is gzip. The limit holds for the inflated bytes.
        return zlib.decompressobj(wbits=31).decompress(body, MAX_BYTES_BEFORE_TOKEN)
    except zlib.error:
        return b""


def _first_resource_of_json(beginning: bytes) -> Iterable[Any] | None:
    """Return the attributes of the first resource.

    Raises:
        ItemRejected, ValueError, RecursionError, IndexError: there is none that can be read.
    """
    # The beginning is cut somewhere and no valid JSON. The first resource in it may still be whole.
    text = beginning.decode(errors="ignore")
    if match := FIRST_RESOURCE.match(text):
        data, _ = json.JSONDecoder().raw_decode(text, match.end())
        resource = msgspec.convert(data, LogResource | None, strict=False)
        return resource.attributes if resource else None
    for signal in (LOGS, SPANS):
        for first in getattr(_decode_part(signal.decode_data, beginning), signal.resources) or ():
            return _resource_attributes(_decode_part(signal.decode_resource_items, first))
    return None


def _first_resource_of_protobuf(beginning: bytes) -> Iterable[Any]:
    """Return the attributes of the first resource. Raises IndexError, DecodeError.

    Requests of both signals, what they have of a resource, and Resource each begin with field 1,
    which is the next of them.
    The parser of protobuf cannot read a message that is cut, so that two lengths are read by hand.
    """
    _, start = _length_at(beginning, 0)
    length, start = _length_at(beginning, start)
    pairs: Iterable[Any] = ResourceMessage.FromString(beginning[start : start + length]).attributes
    return pairs


def _length_at(data: bytes, at: int) -> tuple[int, int]:
    """Return the length of the field 1 that begins at `at`, and where its content begins."""
    if data[at] != FIRST_FIELD_TAG:
        raise IndexError
    length = 0
    for n in range(MAX_VARINT_BYTES):
        byte = data[at + 1 + n]
        length |= (byte & 0x7F) << 7 * n
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
            return length, at + 2 + n
    raise IndexError
