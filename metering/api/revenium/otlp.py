"""OTLP/HTTP logs: each record is a call, told by its attributes and its resource's.

As JSON or as protobuf, which are walked alike: the fields have the same names.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from http import HTTPStatus
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec
from django.http import HttpResponse
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from metering.api import facts
from metering.api.decoding import MOST_ITEMS, Refused, refusal_of
from metering.api.documentation import Documented, schema_of
from metering.api.doors import Answer, Dialect, Door, Post, Reading
from metering.api.quantities import elements_of
from metering.api.revenium import fields, metadata
from metering.api.revenium.dialect import (
    ReveniumManner,
    check_text,
    marks_of,
    with_odd_facts,
)
from metering.api.revenium.naming import make_unknown, names_of
from metering.api.revenium.records import ERROR, MOMENT, error_record, moment_of
from metering.api.revenium.v2 import TAG
from metering.api.transactions import Window, judge
from metering.ingestion import ONE_CALL, Call
from revcred.api.errors import Malformed, TooLarge
from revcred.models import Gateway

PROTOBUF = "application/x-protobuf"
BINARY = {"type": "string", "format": "binary"}
ACCEPTED = {
    "type": "object",
    "required": ["id", "resourceType", "processedEvents", "created", "partialSuccess"],
    "properties": {
        "id": {"type": "string"},
        "resourceType": {"type": "string", "enum": ["otlp"]},
        "processedEvents": {"type": "integer"},
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

# What tells whose a record is, in the order of asking; each also with PREFIX before it.
PREFIX = "revenium."
KEYS = ("subscriber.credential", "subscriber.credential.value", "credential")
SUBSCRIPTIONS = ("subscription.id",)
CUSTOMERS = ("organization.name",)
PRODUCTS = ("product.name",)
SUBSCRIBERS = ("user.email", "subscriber.id")
IDS = ("transaction.id", "log.record.uid")
LATENCY = "duration_ms"
FACTS = {LATENCY: facts.latency}


def _spellings(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from (name, PREFIX + name)


NOT_KEPT = {LATENCY, *_spellings((*KEYS, *IDS))}
COUNTED = "gen_ai.usage."  # else a name with dots tells where a record comes from


class KeyValue(msgspec.Struct):
    key: str = ""
    value: dict[str, Any] | None = None  # its kind, and itself


class Resource(msgspec.Struct):
    attributes: list[KeyValue] = []


class LogRecord(msgspec.Struct, rename="camel"):
    time_unix_nano: int = 0
    observed_time_unix_nano: int = 0
    event_name: str = ""
    body: dict[str, Any] | None = None
    attributes: list[KeyValue] = []


class ScopeLogs(msgspec.Struct, rename="camel"):
    log_records: list[LogRecord] = []


class ResourceLogs(msgspec.Struct, rename="camel"):
    resource: Resource = msgspec.field(default_factory=Resource)
    scope_logs: list[ScopeLogs] = []


class LogsData(msgspec.Struct, rename="camel"):
    resource_logs: list[ResourceLogs] = []


@dataclass(frozen=True)
class Logged:
    """A record, and the attributes of the resource it is about."""

    transaction_id: str
    nanoseconds: int
    body: Any
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]

    def named(self, names: Iterable[str]) -> str | None:
        """The first of these attributes that says something."""
        for name in _spellings(names):
            value = self.attributes.get(name, self.resource.get(name))
            if isinstance(value, str | int) and value != "":
                return str(value)
        return None


_of_json = msgspec.json.Decoder(LogsData, strict=False).decode
_canonical = msgspec.json.Encoder(order="sorted").encode


def is_protobuf(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == PROTOBUF


def read_in(body: bytes, *, protobuf: bool) -> list[Logged]:
    """Raises Malformed, TooLarge."""
    try:
        logs = ExportLogsServiceRequest.FromString(body) if protobuf else _of_json(body)
    except DecodeError as error:
        raise Malformed("The body is not OTLP's protobuf.") from error
    except msgspec.ValidationError as error:
        refused = refusal_of(str(error))
        raise Malformed(f"{refused.field}: {refused.message}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise Malformed("The JSON is nested too deeply.", code="too_deep") from error
    records = list(islice(_records_of(logs), MOST_ITEMS + 1))
    if len(records) > MOST_ITEMS:
        raise TooLarge(f"At most {MOST_ITEMS:,} records at once.", code="too_many")
    return records


def _records_of(logs: Any) -> Iterator[Logged]:
    """Those that are equal in all are told apart by their order, the same when sent again."""
    seen: Counter[str] = Counter()
    for of_resource in logs.resource_logs:
        resource = _plain_attributes(of_resource.resource.attributes)
        for record in (each for scope in of_resource.scope_logs for each in scope.log_records):
            logged = _logged(record, resource)
            seen[logged.transaction_id] += 1
            count = seen[logged.transaction_id]
            named = logged.named(IDS)
            made = f"{logged.transaction_id}-{count}" if count > 1 else logged.transaction_id
            yield replace(logged, transaction_id=named or made)


def _logged(record: Any, resource: dict[str, Any]) -> Logged:
    nanoseconds = record.time_unix_nano or record.observed_time_unix_nano
    attributes = _plain_attributes(record.attributes)
    body = _plain(record.body)
    content = _canonical([nanoseconds, record.event_name, body, attributes, resource])
    digest = blake2b(content, digest_size=16).hexdigest()
    return Logged(f"log-{digest}", nanoseconds, body, attributes, resource)


def _plain(value: Any) -> Any:
    """What an AnyValue says; lists and maps as they are in JSON."""
    if isinstance(value, Message):
        kind = value.WhichOneof("value")
        said = getattr(value, kind) if kind else None
        return MessageToDict(said) if isinstance(said, Message) else said
    return next(iter((value or {}).values()), None)


def _plain_attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair in pairs}


def call_of(logged: Logged, gateway: Gateway, window: Window, now: datetime) -> Call:
    """The call in the inbox's terms: from here on the key is a fingerprint. Raises Refused."""
    occurred_at = _moment(logged.nanoseconds) if logged.nanoseconds else now
    window.check(occurred_at, "timeUnixNano")
    elements = _elements(logged, gateway.event_elements)
    said = {**logged.resource, **logged.attributes, "body": logged.body}
    call = Call(
        transaction_id=_id(logged),
        occurred_at=occurred_at.astimezone(UTC),
        undated=not logged.nanoseconds,
        subscription_named=fields.text("subscription.id", logged.named(SUBSCRIPTIONS)),
        latency_ms=fields.decimal(LATENCY, logged.attributes.get(LATENCY)),
        elements=ONE_CALL | elements,
        metadata=metadata.kept(said, said.keys() - elements.keys() - NOT_KEPT) or None,
        names=names_of(
            customer=logged.named(CUSTOMERS),
            product=logged.named(PRODUCTS),
            subscriber=logged.named(SUBSCRIBERS),
        ),
        **marks_of(KEYS[0], logged.named(KEYS)),
    )
    with_odd_facts(call, logged.attributes, FACTS)
    check_text(call)
    return make_unknown(call, key=logged.named(KEYS))


def _id(logged: Logged) -> str:
    said = fields.text("transaction.id", logged.transaction_id, most=fields.LONGEST_ID)
    return said or logged.transaction_id


def _moment(nanoseconds: int) -> datetime:
    if not 0 <= nanoseconds < LATEST:
        raise Refused("timeUnixNano", "invalid", "It is no moment.")
    return EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def _elements(logged: Logged, named: Collection[str]) -> dict[str, int | Decimal]:
    if named:
        return elements_of(logged.attributes, named)
    return elements_of(
        {
            name: value
            for name, value in logged.attributes.items()
            if ("." not in name or name.startswith(COUNTED)) and name != LATENCY
        }
    )


class Logs(ReveniumManner, Dialect):
    documented = Documented(
        name="revenium_v2_otlp_logs",
        summary="Log records over OTLP/HTTP",
        description=(
            "As JSON or protobuf, up to 1,000 records. Each is a call: an attribute "
            "`subscriber.credential` of the record or its resource names the key, "
            "`subscription.id` the subscription. Attributes that are numbers are counted. The "
            "answer's `partialSuccess` says how many records were not taken, and why; it is 400 if "
            "none was."
        ),
        tag=TAG,
        request={"application/json": schema_of(LogsData), PROTOBUF: BINARY},
        answers={200: ACCEPTED, (200, PROTOBUF): BINARY},
        errors=(400, 401, 403, 413, 415, 429, 503),
        error=ERROR,
    )

    def read(self, post: Post) -> Reading:
        logged = read_in(post.body, protobuf=is_protobuf(post.headers))
        take = partial(
            call_of, gateway=post.gateway, window=Window.of(post.gateway, post.now), now=post.now
        )
        return Reading(*judge(logged, take))

    def answer(self, post: Post, reading: Reading, delivery: UUID) -> Answer:
        body: dict[str, Any] = {
            "id": str(delivery),
            "resourceType": "otlp",
            "processedEvents": len(reading.calls),
            "created": moment_of(post.now),
            "partialSuccess": {},
        }
        if reading.rejected:
            first = reading.rejected[0]
            body["partialSuccess"] = {
                "rejectedLogRecords": str(len(reading.rejected)),
                "errorMessage": f"Record {first['index']}: {first['field']}: {first['message']}",
            }
        if reading.rejected and not reading.calls:
            # Data that is invalid for good, as OTLP says: not retried, and told of as an error.
            message = body["partialSuccess"]["errorMessage"]
            return error_record(Malformed(message, code=reading.rejected[0]["code"]), post.path)
        return Answer(200, body)


class LogsDoor(Door):
    """Who sends protobuf is answered with it."""

    def respond(self, answer: Answer) -> HttpResponse:
        if is_protobuf(self.request.headers):
            answer = replace(answer, body=_as_message(answer), content_type=PROTOBUF)
        return super().respond(answer)


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
