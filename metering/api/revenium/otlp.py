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
from metering.api.authentication import Admission, admission_for
from metering.api.decoding import Refused
from metering.api.documentation import Documented, schema_of
from metering.api.doors import Answer, Dialect, Door, Post, Reading
from metering.api.revenium import fields, labels
from metering.api.revenium.calls_in_logs import KEYS, SUBSCRIPTIONS, calls_in, usage_of
from metering.api.revenium.dialect import ReveniumManner, check_text, marks_of
from metering.api.revenium.log_records import (
    IDS,
    DocumentedLogs,
    Record,
    read_in,
    spellings,
    token_in,
)
from metering.api.revenium.naming import (
    known_subscriptions,
    names_of,
    subscription_or_label,
)
from metering.api.revenium.records import ERROR, MOMENT, error_record, moment_of
from metering.api.revenium.v2 import TAG
from metering.api.transactions import Window, judge
from metering.inbox.calls import ONE_CALL, Call, digest_of
from revcred.api.errors import Malformed
from revcred.fingerprints import fingerprint_hex
from revcred.models import Gateway

PROTOBUF = "application/x-protobuf"
BINARY = {"type": "string", "format": "binary"}
ACCEPTED = {
    "type": "object",
    "required": ["id", "resourceType", "processedEvents", "created", "partialSuccess"],
    "properties": {
        "id": {"type": "string"},
        "resourceType": {"type": "string", "enum": ["otlp"]},
        "processedEvents": {"type": "integer", "description": "Records that are calls."},
        "passedOver": {"type": "integer", "description": "Records that are no calls."},
        "created": MOMENT,
        "partialSuccess": {
            "type": "object",
            "properties": {
                "rejectedLogRecords": {"type": "string"},
                "errorMessage": {"type": "string"},
            },
        },
    },
}
EPOCH = datetime.fromtimestamp(0, UTC)
LATEST = 2**63  # nanoseconds, in the year 2262
MAX_REJECTED_TOLD = 10  # records that an answer names

# What tells whose a record is, in the order of asking; each also as `revenium.…`.
CUSTOMERS = ("organization.name",)
PRODUCTS = ("product.name",)
SUBSCRIBERS = ("user.email", "subscriber.id")
LATENCY = "duration_ms"

# What has a column of its own: the conventions' names, then their older ones.
METHOD = ("http.request.method", "http.method")
PATH = ("url.path", "http.target", "url.full", "http.url")
STATUS = ("http.response.status_code", "http.status_code")
REQUEST_BYTES = ("http.request.body.size", "http.request.size", "http.request_content_length")
RESPONSE_BYTES = ("http.response.body.size", "http.response.size", "http.response_content_length")

HAS_A_PLACE = frozenset(
    {
        LATENCY,
        *spellings((*KEYS, *IDS)),
        *(*METHOD, *PATH, *STATUS, *REQUEST_BYTES, *RESPONSE_BYTES),
    }
)

NAMES_OF_KEYS = frozenset(spellings(KEYS))

# Which file, process or machine a record came through: another one when it is read again.
PLACES = ("log.", "process.", "host.", "container.")
INSTANCE = "service.instance.id"


@dataclass(frozen=True, kw_only=True)
class Taker:
    """Makes calls of the records of one POST."""

    gateway: Gateway
    now: datetime
    window: Window
    subscriptions: Collection[str]  # those of ours that are named
    seen: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, post: Post, records: Iterable[Record | Refused]) -> "Taker":
        named = {each.named(SUBSCRIPTIONS) for each in records if isinstance(each, Record)}
        return cls(
            gateway=post.gateway,
            now=post.now,
            window=Window.of(post.gateway, post.now),
            subscriptions=known_subscriptions([each for each in named if each]),
        )

    def call_of(self, record: Record) -> Call:
        """Return the call in the inbox's terms: its key is still one. Raises Refused."""
        moment = record.at or record.observed_at
        occurred_at = _moment(moment) if moment else self.now
        self.window.check(occurred_at, "timeUnixNano")
        key = record.named(KEYS)
        names = names_of(
            customer=record.configured(CUSTOMERS),
            product=record.configured(PRODUCTS),
            subscriber=record.named(SUBSCRIBERS),
        )
        subscription, label = subscription_or_label(
            fields.text("subscription.id", record.named(SUBSCRIPTIONS)),
            names=names,
            key=key,
            known=self.subscriptions,
        )
        elements = usage_of(record, self.gateway.event_elements)
        found, odd = _facts(record)
        content = _content_of(record)
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
            **marks_of(KEYS[0], key),
        )
        check_text(call)
        return call

    def _id_of(self, record: Record, content: str) -> str:
        """Those that are equal in all are told apart by their order, the same when sent again."""
        named = fields.text(IDS[0], record.transaction_id, most=fields.LONGEST_ID)
        if named:
            return named
        self.seen[content] += 1
        count = self.seen[content]
        return f"log-{content}-{count}" if count > 1 else f"log-{content}"

    def _metadata(
        self, record: Record, odd: Collection[str], elements: Collection[str], *, is_label: bool
    ) -> dict[str, Any] | None:
        said = {**record.resource, **record.attributes}
        listed = {*labels.OF_LOGS, *(spellings(SUBSCRIPTIONS) if is_label else ()), *odd}
        named = set(self.gateway.kept_attributes) - HAS_A_PLACE
        return labels.kept(said, listed - set(elements), named - set(elements)) or None


def _content_of(record: Record) -> str:
    """Return the digest of what tells a record from others, and makes a repeat the same.

    Neither where it was read nor when it was observed: a collector that starts again reads the
    same lines from a file of another name.
    """
    own = {
        name: value
        for name, value in record.attributes.items()
        if name != INSTANCE and not name.startswith(PLACES) and name not in NAMES_OF_KEYS
    }
    key = record.named(KEYS)
    whose = [
        *(key and fingerprint_hex(key), record.named(SUBSCRIPTIONS), record.named(SUBSCRIBERS)),
        *(record.configured(CUSTOMERS), record.configured(PRODUCTS)),
        record.resource.get("service.name"),
    ]
    return digest_of(record.at, record.name, record.body, own, whose)


def _facts(record: Record) -> tuple[dict[str, Any], set[str]]:
    """Return what has a column, and the names of values that fit none: they cost no call."""
    found: dict[str, Any] = {}
    odd: set[str] = set()
    for column, names, read in (
        ("method", METHOD, facts.method),
        ("path", PATH, facts.whole_text),
        ("status", STATUS, facts.status),
        ("request_bytes", REQUEST_BYTES, facts.size),
        ("response_bytes", RESPONSE_BYTES, facts.size),
        ("latency_ms", (LATENCY,), facts.latency),
    ):
        name = next((each for each in names if record.attributes.get(each) is not None), None)
        if name is None:
            continue
        try:
            found[column] = read(record.attributes[name])
        except facts.Odd:
            odd.add(name)
    if "path" in found:
        found["path"] = fields.path(found["path"])
    return found, odd


def _moment(nanoseconds: int) -> datetime:
    if not 0 <= nanoseconds < LATEST:
        raise Refused("timeUnixNano", "invalid", "It is no moment.")
    return EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def is_protobuf(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == PROTOBUF


class Logs(ReveniumManner, Dialect):
    documented = Documented(
        name="revenium_v2_otlp_logs",
        summary="Log records over OTLP/HTTP",
        description=(
            "As JSON or protobuf, up to 1,000 records. Those that carry usage are calls, and "
            "those that have an id of a transaction, a key or a subscription; others are passed "
            "over. An attribute `subscriber.credential` of the record or its resource names the "
            "key, `subscription.id` the subscription. The answer's `partialSuccess` says which "
            "records were not taken, and why; it is 400 if none was."
        ),
        tag=TAG,
        request={"application/json": schema_of(DocumentedLogs), PROTOBUF: BINARY},
        answers={200: ACCEPTED, (200, PROTOBUF): BINARY},
        errors=(400, 401, 403, 413, 415, 429, 503),
        error=ERROR,
    )

    def read(self, post: Post) -> Reading:
        records = read_in(post.body, protobuf=is_protobuf(post.headers))
        places = calls_in(records, post.gateway)
        counting = [records[place] for place in places]
        calls, rejected = judge(counting, Taker.of(post, counting).call_of)
        for each in rejected:
            record = counting[each["index"]]
            each.key = record.named(KEYS) if isinstance(record, Record) else None
            each["index"] = places[each["index"]]
        return Reading(calls, rejected, passed_over=len(records) - len(places))

    def answer(self, post: Post, reading: Reading, delivery: UUID) -> Answer:
        body: dict[str, Any] = {
            "id": str(delivery),
            "resourceType": "otlp",
            "processedEvents": len(reading.calls),
            "passedOver": reading.passed_over,
            "created": moment_of(post.now),
            "partialSuccess": {},
        }
        if reading.rejected:
            body["partialSuccess"] = {
                "rejectedLogRecords": str(len(reading.rejected)),
                "errorMessage": _told(reading.rejected),
            }
        if reading.rejected and not reading.calls:
            # Data that is invalid for good, as OTLP says: not retried, and told of as an error.
            message = body["partialSuccess"]["errorMessage"]
            error = Malformed(message, code=reading.rejected[0]["code"])
            answer = error_record(error, post.path)
            return replace(answer, body=answer.body | body)
        return Answer(200, body)


def _told(rejected: Sequence[Mapping[str, Any]]) -> str:
    """Return which records were not taken, and why, for who reads a sender's log."""
    told = [
        f"Record {each['index']}: {f'{field}: ' if (field := each['field']) else ''}"
        f"{each['message']}"
        for each in rejected[:MAX_REJECTED_TOLD]
    ]
    more = len(rejected) - len(told)
    return " ".join([*told, f"And {more:,} more."] if more else told)


class LogsDoor(Door):
    """Who sends protobuf is answered with it. The token may be an attribute of the resource."""

    raw: bytes | None = None  # the body, where it was read to find the token

    def admit(self, request: HttpRequest) -> Admission:
        headers = request.headers
        if "authorization" in headers or "x-api-key" in headers:
            return super().admit(request)
        self.raw = bodies.raw(request)
        encoding = headers.get("content-encoding", "")
        self.token = token_in(self.raw, encoding, protobuf=is_protobuf(headers))
        return admission_for("", self.token)

    def body_of(self, request: HttpRequest) -> bytes:
        if self.raw is None:
            return super().body_of(request)
        return bodies.inflate(self.raw, request.headers.get("content-encoding", ""))

    def respond(self, answer: Answer) -> HttpResponse:
        return super().respond(as_asked(answer, self.request.headers))


def as_asked(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """Return the answer as protobuf to who sends that."""
    if not is_protobuf(headers):
        return answer
    return replace(answer, body=_as_message(answer), content_type=PROTOBUF)


def _as_message(answer: Answer) -> bytes:
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
