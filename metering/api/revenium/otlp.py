"""OTLP/HTTP logs: the records that are calls, told by their attributes and their resource's."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)

from metering.api import bodies, facts
from metering.api.authentication import Admission, require_admission
from metering.api.decoding import ItemRejected
from metering.api.documentation import DoorDocumentation, json_schema_of
from metering.api.doors import Answer, Dialect, Door, GatewayPost, ParsedBody
from metering.api.revenium import fields, labels
from metering.api.revenium.calls_in_logs import (
    KEY_ATTRIBUTES,
    SUBSCRIPTION_ATTRIBUTES,
    call_positions,
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
    RECORD_MOMENT_SCHEMA,
    error_record,
    format_moment,
)
from metering.api.revenium.v2 import V2_TAG
from metering.api.transactions import AcceptanceWindow, accept_or_reject
from metering.inbox.calls import ONE_CALL, Call, digest_of_parts
from revcred.api.errors import MalformedRequest
from revcred.fingerprints import fingerprint_hex
from revcred.models import Gateway

PROTOBUF_MEDIA_TYPE = "application/x-protobuf"
BINARY_SCHEMA = {"type": "string", "format": "binary"}
LOGS_ANSWER_SCHEMA = {
    "type": "object",
    "required": ["id", "resourceType", "processedEvents", "created", "partialSuccess"],
    "properties": {
        "id": {"type": "string"},
        "resourceType": {"type": "string", "enum": ["otlp"]},
        "processedEvents": {"type": "integer", "description": "Records that are calls."},
        "passedOver": {"type": "integer", "description": "Records that are no calls."},
        "created": RECORD_MOMENT_SCHEMA,
        "partialSuccess": {
            "type": "object",
            "properties": {
                "rejectedLogRecords": {"type": "string"},
                "errorMessage": {"type": "string"},
            },
        },
    },
}
UNIX_EPOCH = datetime.fromtimestamp(0, UTC)
MAX_UNIX_NANOSECONDS = 2**63  # nanoseconds, in the year 2262
MAX_REJECTIONS_IN_ANSWER = 10  # records that an answer names

# What tells whose a record is, in the order of asking; each also as `revenium.…`.
CUSTOMER_ATTRIBUTES = ("organization.name",)
PRODUCT_ATTRIBUTES = ("product.name",)
SUBSCRIBER_ATTRIBUTES = ("user.email", "subscriber.id")
LATENCY_ATTRIBUTE = "duration_ms"

# What has a column of its own: the conventions' names, then their older ones.
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

# Which file, process or machine a record came through: another one when it is read again.
ORIGIN_PREFIXES = ("log.", "process.", "host.", "container.")
INSTANCE_ATTRIBUTE = "service.instance.id"


@dataclass(frozen=True, kw_only=True)
class LogCallMaker:
    """Makes calls of the records of one POST."""

    gateway: Gateway
    now: datetime
    window: AcceptanceWindow
    subscriptions: Collection[str]  # those of ours that are named
    seen: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls, post: GatewayPost, records: Iterable[ParsedLogRecord | ItemRejected]
    ) -> "LogCallMaker":
        named = {
            each.named(SUBSCRIPTION_ATTRIBUTES)
            for each in records
            if isinstance(each, ParsedLogRecord)
        }
        return cls(
            gateway=post.gateway,
            now=post.now,
            window=AcceptanceWindow.of(post.gateway, post.now),
            subscriptions=known_subscriptions([each for each in named if each]),
        )

    def call_of(self, record: ParsedLogRecord) -> Call:
        """Return the call in the inbox's terms: its key is still one. Raises ItemRejected."""
        moment = record.at or record.observed_at
        occurred_at = _moment_of_nanoseconds(moment) if moment else self.now
        self.window.check(occurred_at, "timeUnixNano")
        key = record.named(KEY_ATTRIBUTES)
        names = owner_names(
            customer=record.configured(CUSTOMER_ATTRIBUTES),
            product=record.configured(PRODUCT_ATTRIBUTES),
            subscriber=record.named(SUBSCRIBER_ATTRIBUTES),
        )
        subscription, label = subscription_or_label(
            fields.parse_text("subscription.id", record.named(SUBSCRIPTION_ATTRIBUTES)),
            names=names,
            key=key,
            known=self.subscriptions,
        )
        elements = usage_elements(record, self.gateway.event_elements)
        found, odd = _read_facts(record)
        content = _content_digest(record)
        call = Call(
            transaction_id=self._id_of(record, content),
            occurred_at=occurred_at.astimezone(UTC),
            undated=not record.at,
            subscription_named=subscription,
            elements=ONE_CALL | elements,
            metadata=self._metadata(record, odd, elements, is_label=bool(label)),
            names=names,
            content=content,
            **found,
            **key_fields_of(KEY_ATTRIBUTES[0], key),
        )
        check_for_nul(call)
        return call

    def _id_of(self, record: ParsedLogRecord, content: str) -> str:
        """Those that are equal in all are told apart by their order, the same when sent again."""
        named = fields.parse_text(
            ID_ATTRIBUTES[0], record.transaction_id, most=fields.MAX_ID_CHARACTERS
        )
        if named:
            return named
        self.seen[content] += 1
        count = self.seen[content]
        return f"log-{content}-{count}" if count > 1 else f"log-{content}"

    def _metadata(
        self,
        record: ParsedLogRecord,
        odd: Collection[str],
        elements: Collection[str],
        *,
        is_label: bool,
    ) -> dict[str, Any] | None:
        said = {**record.resource, **record.attributes}
        listed = {
            *labels.LOG_LABELS,
            *(attribute_spellings(SUBSCRIPTION_ATTRIBUTES) if is_label else ()),
            *odd,
        }
        named = set(self.gateway.kept_attributes) - STORED_ATTRIBUTES
        return labels.kept_labels(said, listed - set(elements), named - set(elements)) or None


def _content_digest(record: ParsedLogRecord) -> str:
    """Return the digest of what tells a record from others, and makes a repeat the same.

    Neither where it was read nor when it was observed: a collector that starts again reads the
    same lines from a file of another name.
    """
    own = {
        name: value
        for name, value in record.attributes.items()
        if name != INSTANCE_ATTRIBUTE
        and not name.startswith(ORIGIN_PREFIXES)
        and name not in KEY_ATTRIBUTE_SPELLINGS
    }
    key = record.named(KEY_ATTRIBUTES)
    whose = [
        *(
            key and fingerprint_hex(key),
            record.named(SUBSCRIPTION_ATTRIBUTES),
            record.named(SUBSCRIBER_ATTRIBUTES),
        ),
        *(record.configured(CUSTOMER_ATTRIBUTES), record.configured(PRODUCT_ATTRIBUTES)),
        record.resource.get("service.name"),
    ]
    return digest_of_parts(record.at, record.name, record.body, own, whose)


def _read_facts(record: ParsedLogRecord) -> tuple[dict[str, Any], set[str]]:
    """Return what has a column, and the names of values that fit none: they cost no call."""
    found: dict[str, Any] = {}
    odd: set[str] = set()
    for column, names, read in (
        ("method", METHOD_ATTRIBUTES, facts.read_method),
        ("path", PATH_ATTRIBUTES, facts.read_text),
        ("status", STATUS_ATTRIBUTES, facts.read_status),
        ("request_bytes", REQUEST_BYTES_ATTRIBUTES, facts.read_size),
        ("response_bytes", RESPONSE_BYTES_ATTRIBUTES, facts.read_size),
        ("latency_ms", (LATENCY_ATTRIBUTE,), facts.read_latency),
    ):
        name = next((each for each in names if record.attributes.get(each) is not None), None)
        if name is None:
            continue
        try:
            found[column] = read(record.attributes[name])
        except facts.UnreadableFact:
            odd.add(name)
    if "path" in found:
        found["path"] = fields.path_of_address(found["path"])
    return found, odd


def _moment_of_nanoseconds(nanoseconds: int) -> datetime:
    if not 0 <= nanoseconds < MAX_UNIX_NANOSECONDS:
        raise ItemRejected("timeUnixNano", "invalid", "It is no moment.")
    return UNIX_EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def is_protobuf(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == PROTOBUF_MEDIA_TYPE


class OtlpLogsDialect(ReveniumAnswerStyle, Dialect):
    documented = DoorDocumentation(
        name="revenium_v2_otlp_logs",
        summary="Log records over OTLP/HTTP",
        description=(
            "As JSON or protobuf, up to 1,000 records. Those that carry usage are calls, and "
            "those that have an id of a transaction, a key or a subscription; others are passed "
            "over. An attribute `subscriber.credential` of the record or its resource names the "
            "key, `subscription.id` the subscription. The answer's `partialSuccess` says which "
            "records were not taken, and why; it is 400 if none was."
        ),
        tag=V2_TAG,
        request={
            "application/json": json_schema_of(DocumentedLogs),
            PROTOBUF_MEDIA_TYPE: BINARY_SCHEMA,
        },
        answers={200: LOGS_ANSWER_SCHEMA, (200, PROTOBUF_MEDIA_TYPE): BINARY_SCHEMA},
        errors=(400, 401, 403, 413, 415, 429, 503),
        error=ERROR_RECORD_SCHEMA,
    )

    def read(self, post: GatewayPost) -> ParsedBody:
        records = decode_log_records(post.body, protobuf=is_protobuf(post.headers))
        places = call_positions(records, post.gateway)
        counting = [records[place] for place in places]
        calls, rejected = accept_or_reject(counting, LogCallMaker.of(post, counting).call_of)
        for each in rejected:
            record = counting[each["index"]]
            each.key = record.named(KEY_ATTRIBUTES) if isinstance(record, ParsedLogRecord) else None
            each["index"] = places[each["index"]]
        return ParsedBody(calls, rejected, passed_over=len(records) - len(places))

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        body: dict[str, Any] = {
            "id": str(delivery),
            "resourceType": "otlp",
            "processedEvents": len(reading.calls),
            "passedOver": reading.passed_over,
            "created": format_moment(post.now),
            "partialSuccess": {},
        }
        if reading.rejected:
            body["partialSuccess"] = {
                "rejectedLogRecords": str(len(reading.rejected)),
                "errorMessage": _rejections_message(reading.rejected),
            }
        if reading.rejected and not reading.calls:
            # Data that is invalid for good, as OTLP says: not retried, and told of as an error.
            message = body["partialSuccess"]["errorMessage"]
            error = MalformedRequest(message, code=reading.rejected[0]["code"])
            answer = error_record(error, post.path)
            return replace(answer, body=answer.body | body)
        return Answer(200, body)


def _rejections_message(rejected: Sequence[Mapping[str, Any]]) -> str:
    """Return which records were not taken, and why, for who reads a sender's log."""
    told = [
        f"Record {each['index']}: {f'{field}: ' if (field := each['field']) else ''}"
        f"{each['message']}"
        for each in rejected[:MAX_REJECTIONS_IN_ANSWER]
    ]
    more = len(rejected) - len(told)
    return " ".join([*told, f"And {more:,} more."] if more else told)


class OtlpLogsDoor(Door):
    """Who sends protobuf is answered with it. The token may be an attribute of the resource."""

    raw: bytes | None = None  # the body, where it was read to find the token

    def admit(self, request: HttpRequest) -> Admission:
        headers = request.headers
        if "authorization" in headers or "x-api-key" in headers:
            return super().admit(request)
        self.raw = bodies.read_raw_body(request)
        encoding = headers.get("content-encoding", "")
        self.token = token_in_resource(self.raw, encoding, protobuf=is_protobuf(headers))
        return require_admission("", self.token)

    def body_of(self, request: HttpRequest) -> bytes:
        if self.raw is None:
            return super().body_of(request)
        return bodies.inflate_body(self.raw, request.headers.get("content-encoding", ""))

    def respond(self, answer: Answer) -> HttpResponse:
        return super().respond(encode_as_sent(answer, self.request.headers))


def encode_as_sent(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """Return the answer as protobuf to who sends that."""
    if not is_protobuf(headers):
        return answer
    return replace(answer, body=_as_protobuf(answer), content_type=PROTOBUF_MEDIA_TYPE)


def _as_protobuf(answer: Answer) -> bytes:
    if answer.status != HTTPStatus.OK:
        # On the wire the same as google.rpc.Status, which is what is expected.
        refusal = ExportLogsPartialSuccess(error_message=answer.body["message"])
        return bytes(refusal.SerializeToString())
    said = answer.body["partialSuccess"]
    partly = ExportLogsPartialSuccess(
        rejected_log_records=int(said.get("rejectedLogRecords", 0)),
        error_message=said.get("errorMessage", ""),
    )
    response = ExportLogsServiceResponse(partial_success=partly if said else None)
    return bytes(response.SerializeToString())
