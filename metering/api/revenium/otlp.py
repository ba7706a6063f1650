"""The door for OTLP/HTTP logs, which finds the calls among a program's log records."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)

from metering.api import facts
from metering.api.decoding import ItemRejected
from metering.api.dialects import Answer, Dialect, GatewayPost, IncomingPost, ParsedBody
from metering.api.documentation import DoorDocumentation
from metering.api.revenium import fields, labels
from metering.api.revenium.calls_in_logs import (
    KEY_ATTRIBUTES,
    SUBSCRIPTION_ATTRIBUTES,
    call_positions,
    is_usage,
    usage_elements,
)
from metering.api.revenium.dialect import ReveniumAnswerStyle, check_for_nul, key_fields_of
from metering.api.revenium.log_records import (
    ID_ATTRIBUTES,
    DocumentedLogs,
    ParsedLogRecord,
    attribute_spellings,
    decode_log_records,
    token_in_resource,
)
from metering.api.revenium.naming import (
    known_subscriptions,
    owner_names,
    subscription_or_label,
)
from metering.api.revenium.records import (
    ERROR_RECORD_SCHEMA,
    ErrorRecord,
    MomentText,
    error_record,
    format_moment,
)
from metering.api.revenium.v2 import V2_TAG
from metering.api.transactions import AcceptanceWindow, accept_or_reject
from metering.inbox.calls import ONE_CALL, Call, digest_of_parts
from metering.inbox.rejections import RejectedItem
from revcred.api.errors import MalformedRequest
from revcred.api.schema import json_schema_of
from revcred.fingerprints import fingerprint_hex
from revcred.models import Gateway

PROTOBUF_MEDIA_TYPE = "application/x-protobuf"
BINARY_SCHEMA = {"type": "string", "format": "binary"}


class PartialSuccess(msgspec.Struct, rename="camel", kw_only=True):
    """OTLP's own part of the answer: how many records were rejected, and why."""

    rejected_log_records: str | UnsetType = UNSET  # as OTLP has 64-bit numbers in JSON
    error_message: str | UnsetType = UNSET


class LogsAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """The answer to a POST of logs."""

    id: str
    resource_type: Literal["otlp"] = "otlp"
    processed_events: Annotated[int, Meta(description="Records that are calls.")]
    passed_over: Annotated[int, Meta(description="Records that are no calls.")]
    created: MomentText
    partial_success: PartialSuccess


class LogsRejected(ErrorRecord, rename="camel", kw_only=True):
    """The answer if every record was rejected: an error record with the fields of LogsAnswer."""

    id: str
    resource_type: Literal["otlp"] = "otlp"
    processed_events: int
    passed_over: int
    created: MomentText
    partial_success: PartialSuccess


UNIX_EPOCH = datetime.fromtimestamp(0, UTC)
MAX_UNIX_NANOSECONDS = 2**63  # in the year 2262
MAX_REJECTIONS_IN_ANSWER = 10  # a batch may have a thousand

# Attributes that tell whose a record is; of each tuple the first that is there counts. Revenium's
# clients send the same names with the prefix `revenium.`.
CUSTOMER_ATTRIBUTES = ("organization.name",)
PRODUCT_ATTRIBUTES = ("product.name",)
SUBSCRIBER_ATTRIBUTES = ("user.email", "subscriber.id")
LATENCY_ATTRIBUTE = "duration_ms"

# Attributes that have a column of their own: first the current names of the semantic conventions,
# then their older ones.
METHOD_ATTRIBUTES = ("http.request.method", "http.method")
PATH_ATTRIBUTES = ("url.path", "http.target", "url.full", "http.url")
STATUS_ATTRIBUTES = ("http.response.status_code", "http.status_code")
REQUEST_BYTES_ATTRIBUTES = (
    "http.request.body.size",
    "http.request.size",
    "http.request_content_length",
)
RESPONSE_BYTES_ATTRIBUTES = (
    "http.response.body.size",
    "http.response.size",
    "http.response_content_length",
)

# An admin cannot keep these as labels: they are stored already, or are keys.
STORED_ATTRIBUTES = frozenset(
    {
        LATENCY_ATTRIBUTE,
        *attribute_spellings((*KEY_ATTRIBUTES, *ID_ATTRIBUTES)),
        *(
            *METHOD_ATTRIBUTES,
            *PATH_ATTRIBUTES,
            *STATUS_ATTRIBUTES,
            *REQUEST_BYTES_ATTRIBUTES,
            *RESPONSE_BYTES_ATTRIBUTES,
        ),
    }
)

KEY_ATTRIBUTE_SPELLINGS = frozenset(attribute_spellings(KEY_ATTRIBUTES))
# What decides whose a record is, and which it is.
DECIDING = frozenset(
    attribute_spellings(
        (
            *KEY_ATTRIBUTES,
            *SUBSCRIPTION_ATTRIBUTES,
            *ID_ATTRIBUTES,
            *CUSTOMER_ATTRIBUTES,
            *PRODUCT_ATTRIBUTES,
            *SUBSCRIBER_ATTRIBUTES,
        )
    )
)

# Attributes that tell by which file, process or machine a record came. A collector that restarts
# may read the same line again from another one, so that they must not make it another record.
ORIGIN_PREFIXES = ("log.", "process.", "host.", "container.")
INSTANCE_ATTRIBUTE = "service.instance.id"


@dataclass(frozen=True, kw_only=True)
class LogCallMaker:
    """A maker of calls from the log records of one POST."""

    gateway: Gateway
    now: datetime
    window: AcceptanceWindow
    subscriptions: Collection[str]  # known external keys among those that the records name
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def for_post(
        cls, post: GatewayPost, records: Iterable[ParsedLogRecord | ItemRejected]
    ) -> "LogCallMaker":
        # One query for all records of the post instead of one for each.
        external_keys = {
            record.attribute(SUBSCRIPTION_ATTRIBUTES)
            for record in records
            if isinstance(record, ParsedLogRecord)
        }
        return cls(
            gateway=post.gateway,
            now=post.now,
            window=AcceptanceWindow.for_gateway(post.gateway, post.now),
            subscriptions=known_subscriptions([key for key in external_keys if key]),
        )

    def call_of(self, record: ParsedLogRecord) -> Call:
        """Return a record as a call in the inbox's terms, with its key in clear.

        Raises:
            ItemRejected: the moment is outside the window, or a decisive attribute is wrong.
        """
        self._check_once(record)
        moment = record.at or record.observed_at
        occurred_at = _moment_of_nanoseconds(moment) if moment else self.now
        self.window.check(occurred_at, "timeUnixNano")
        key = record.attribute(KEY_ATTRIBUTES)
        names = owner_names(
            customer=record.configured_attribute(CUSTOMER_ATTRIBUTES),
            product=record.configured_attribute(PRODUCT_ATTRIBUTES),
            subscriber=record.attribute(SUBSCRIBER_ATTRIBUTES),
        )
        subscription, label = subscription_or_label(
            fields.parse_text("subscription.id", record.attribute(SUBSCRIPTION_ATTRIBUTES)),
            names=names,
            key=key,
            known=self.subscriptions,
        )
        elements = usage_elements(record, self.gateway.event_elements)
        columns, unreadable = _read_facts(record)
        content = _content_digest(record)
        call = Call(
            transaction_id=self._id_of(record, content),
            occurred_at=occurred_at.astimezone(UTC),
            undated=not record.at,
            subscription_named=subscription,
            elements=ONE_CALL | elements,
            metadata=self._metadata(record, unreadable, elements, is_label=bool(label)),
            names=names,
            content=content,
            **columns,
            **key_fields_of(KEY_ATTRIBUTES[0], key),
        )
        check_for_nul(call)
        return call

    def _check_once(self, record: ParsedLogRecord) -> None:
        """See that nothing that decides stands in it twice. Raises ItemRejected."""
        for name in sorted(record.doubled):
            if name in DECIDING or name in self.gateway.event_elements or is_usage(name):
                raise ItemRejected(
                    name, "duplicate_field", "It is there twice, with different values."
                )

    def _id_of(self, record: ParsedLogRecord, content: str) -> str:
        """Return the record's own id, or one made of its content and its number among equal ones.

        A batch that is sent again has its records in the same order, so that each gets the same id.
        """
        own_id = fields.parse_text(
            ID_ATTRIBUTES[0], record.transaction_id, max_characters=fields.MAX_ID_CHARACTERS
        )
        if own_id:
            return own_id
        self.counts[content] += 1
        count = self.counts[content]
        return f"log-{content}-{count}" if count > 1 else f"log-{content}"

    def _metadata(
        self,
        record: ParsedLogRecord,
        unreadable: Collection[str],
        elements: Collection[str],
        *,
        is_label: bool,
    ) -> dict[str, Any] | None:
        attributes = {**record.resource, **record.attributes}
        listed = {
            *labels.LOG_LABELS,
            *(attribute_spellings(SUBSCRIPTION_ATTRIBUTES) if is_label else ()),
            *unreadable,
        }
        added = set(self.gateway.kept_attributes) - STORED_ATTRIBUTES
        counted = set(elements)  # need not be stored twice
        return labels.kept_labels(attributes, listed - counted, added - counted) or None


def _content_digest(record: ParsedLogRecord) -> str:
    """Return the digest that a record shares with its repeats and with no other record.

    It leaves out where the record was read and when it was observed: a collector that restarts may
    read the same line from a file of another name. The key is in it as a fingerprint only.
    """
    own_attributes = {
        name: value
        for name, value in record.attributes.items()
        if name != INSTANCE_ATTRIBUTE
        and not name.startswith(ORIGIN_PREFIXES)
        and name not in KEY_ATTRIBUTE_SPELLINGS
    }
    key = record.attribute(KEY_ATTRIBUTES)
    # Two customers may log the same line in the same nanosecond.
    owner = [
        *(
            key and fingerprint_hex(key),
            record.attribute(SUBSCRIPTION_ATTRIBUTES),
            record.attribute(SUBSCRIBER_ATTRIBUTES),
        ),
        *(
            record.configured_attribute(CUSTOMER_ATTRIBUTES),
            record.configured_attribute(PRODUCT_ATTRIBUTES),
        ),
        record.resource.get("service.name"),
    ]
    return digest_of_parts(record.at, record.name, record.body, own_attributes, owner)


def _read_facts(record: ParsedLogRecord) -> tuple[dict[str, Any], set[str]]:
    """Return the facts by column, and the names of attributes that cannot be read."""
    columns: dict[str, Any] = {}
    unreadable: set[str] = set()
    for column, names, read in (
        ("method", METHOD_ATTRIBUTES, facts.read_method),
        ("path", PATH_ATTRIBUTES, facts.read_text),
        ("status", STATUS_ATTRIBUTES, facts.read_status),
        ("request_bytes", REQUEST_BYTES_ATTRIBUTES, facts.read_size),
        ("response_bytes", RESPONSE_BYTES_ATTRIBUTES, facts.read_size),
        ("latency_ms", (LATENCY_ATTRIBUTE,), facts.read_latency),
    ):
        name = next((name for name in names if record.attributes.get(name) is not None), None)
        # Only the first name that is there counts, even if its value cannot be read.
        if name is None:
            continue
        try:
            columns[column] = read(record.attributes[name])
        except facts.UnreadableFact:
            unreadable.add(name)
    if "path" in columns:
        columns["path"] = fields.path_of_address(columns["path"])
    return columns, unreadable


def _moment_of_nanoseconds(nanoseconds: int) -> datetime:
    if not 0 <= nanoseconds < MAX_UNIX_NANOSECONDS:
        raise ItemRejected(
            "timeUnixNano", "invalid", "It is not a number of nanoseconds since 1970."
        )
    return UNIX_EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def is_protobuf(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == PROTOBUF_MEDIA_TYPE


class OtlpAnswerStyle(ReveniumAnswerStyle):
    """Answers to protobuf as protobuf."""

    def encode_for(self, headers: Mapping[str, str], answer: Answer) -> Answer:
        if not is_protobuf(headers):
            return answer
        return replace(answer, body=_as_protobuf(answer), content_type=PROTOBUF_MEDIA_TYPE)


class OtlpLogsDialect(OtlpAnswerStyle, Dialect):
    """Log records over OTLP/HTTP. Those that are no calls are ignored, and counted as such."""

    documented = DoorDocumentation(
        name="revenium_v2_otlp_logs",
        summary="Log records over OTLP/HTTP",
        description=(
            "As JSON or protobuf, up to 1,000 records. A record is a call if it carries usage, or "
            "has a transaction id, a key or a subscription; others are ignored. The attribute "
            "`subscriber.credential` of a record or its resource names the key, and "
            "`subscription.id` the subscription. The answer's `partialSuccess` says which records "
            "were rejected, and why; it is 400 if all of them were."
        ),
        tag=V2_TAG,
        request={
            "application/json": json_schema_of(DocumentedLogs),
            PROTOBUF_MEDIA_TYPE: BINARY_SCHEMA,
        },
        answers={200: json_schema_of(LogsAnswer), (200, PROTOBUF_MEDIA_TYPE): BINARY_SCHEMA},
        errors=(400, 401, 403, 413, 415, 429, 503),
        error=ERROR_RECORD_SCHEMA,
    )

    def token_of(self, incoming: IncomingPost) -> str:
        """Return the token in a header, else in an attribute of the first resource."""
        headers = incoming.headers
        if "authorization" in headers or "x-api-key" in headers:
            return super().token_of(incoming)
        encoding = headers.get("content-encoding", "")
        return token_in_resource(incoming.raw_body(), encoding, protobuf=is_protobuf(headers))

    def read(self, post: GatewayPost) -> ParsedBody:
        records = decode_log_records(post.body, protobuf=is_protobuf(post.headers))
        positions = call_positions(records, post.gateway)
        call_records = [records[position] for position in positions]
        call_maker = LogCallMaker.for_post(post, call_records)
        calls, rejected = accept_or_reject(call_records, call_maker.call_of)
        # An index among the calls means nothing to the sender, who knows the body alone.
        for item in rejected:
            place = item.told.index or 0
            record = call_records[place]
            if isinstance(record, ParsedLogRecord):
                item.key = record.attribute(KEY_ATTRIBUTES)
            item.told.index = positions[place]
        return ParsedBody(calls, rejected, passed_over=len(records) - len(positions))

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        success = PartialSuccess()
        if reading.rejected:
            success.rejected_log_records = str(len(reading.rejected))
            success.error_message = _rejections_message(reading.rejected)
        body = LogsAnswer(
            id=str(delivery),
            processed_events=len(reading.calls),
            passed_over=reading.passed_over,
            created=format_moment(post.now),
            partial_success=success,
        )
        if reading.rejected and not reading.calls:
            # OTLP asks for 400 where no retry can help: exporters then report it and drop the data.
            error = MalformedRequest(
                success.error_message or None, code=reading.rejected[0].told.code
            )
            answer = error_record(error, post.path)
            return replace(answer, body=LogsRejected(**asdict(answer.body), **asdict(body)))
        return Answer(200, body)


def _rejections_message(rejected: Sequence[RejectedItem]) -> str:
    """Return a sentence for each of the first rejected records; exporters log it."""
    sentences = [
        f"Record {told.index}: {f'{told.field}: ' if told.field else ''}{told.message}"
        for told in (item.told for item in rejected[:MAX_REJECTIONS_IN_ANSWER])
    ]
    more = len(rejected) - len(sentences)
    return " ".join([*sentences, f"And {more:,} more."] if more else sentences)


def _as_protobuf(answer: Answer) -> bytes:
    if answer.status != HTTPStatus.OK:
        # OTLP expects a google.rpc.Status here. Its message has the same field number as
        # `error_message`, so that both are the same bytes.
        error = ExportLogsPartialSuccess(error_message=answer.body.message)
        return bytes(error.SerializeToString())
    success: PartialSuccess = answer.body.partial_success
    message = None
    if success.rejected_log_records is not UNSET:
        message = ExportLogsPartialSuccess(
            rejected_log_records=int(success.rejected_log_records),
            error_message=success.error_message or "",
        )
    response = ExportLogsServiceResponse(partial_success=message)
    return bytes(response.SerializeToString())
