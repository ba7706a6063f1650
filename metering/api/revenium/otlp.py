"""The doors for OTLP/HTTP, which find the calls among a program's log records and spans."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)

from metering.api.decoding import ItemRejected
from metering.api.dialects import Answer, Dialect, GatewayPost, IncomingPost, ParsedBody
from metering.api.documentation import DoorDocumentation
from metering.api.lines import LinesReader
from metering.api.revenium.access_records import AccessRecordReader, has_log_of_calls
from metering.api.revenium.calls_in_logs import KEY_ATTRIBUTES, call_positions, is_model_span
from metering.api.revenium.calls_of_records import RecordCallMaker
from metering.api.revenium.dialect import ReveniumAnswerStyle
from metering.api.revenium.log_records import (
    LOGS,
    SPANS,
    DocumentedLogs,
    DocumentedTraces,
    ParsedLogRecord,
    Signal,
    decode_records,
    token_in_resource,
)
from metering.api.revenium.records import (
    ERROR_RECORD_SCHEMA,
    ErrorRecord,
    MomentText,
    error_record,
    format_moment,
)
from metering.api.revenium.v2 import V2_TAG
from metering.api.transactions import accept_or_reject
from metering.inbox.rejections import RejectedItem
from revcred.api.errors import MalformedRequest
from revcred.api.schema import json_schema_of

PROTOBUF_MEDIA_TYPE = "application/x-protobuf"
BINARY_SCHEMA = {"type": "string", "format": "binary"}


class PartialSuccess(msgspec.Struct, rename="camel", kw_only=True):
    """OTLP's own part of the answer: how many items were rejected, and why."""

    # As OTLP has 64-bit numbers in JSON. It has the one that is of the posted signal.
    rejected_log_records: str | UnsetType = UNSET
    rejected_spans: str | UnsetType = UNSET
    error_message: str | UnsetType = UNSET


class OtlpAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """The answer to a POST of log records or spans."""

    id: str
    resource_type: Literal["otlp"] = "otlp"
    processed_events: Annotated[int, Meta(description="Records that are calls.")]
    passed_over: Annotated[int, Meta(description="Records that are no calls.")]
    created: MomentText
    partial_success: PartialSuccess


class OtlpRejected(ErrorRecord, rename="camel", kw_only=True):
    """The answer if every record was rejected: an error record with the fields of OtlpAnswer."""

    id: str
    resource_type: Literal["otlp"] = "otlp"
    processed_events: int
    passed_over: int
    created: MomentText
    partial_success: PartialSuccess


MAX_REJECTIONS_IN_ANSWER = 10  # a batch may have a thousand


def _documentation(
    *, name: str, summary: str, description: str, body: type[msgspec.Struct]
) -> DoorDocumentation:
    return DoorDocumentation(
        name=name,
        summary=summary,
        description=description,
        tag=V2_TAG,
        request={
            "application/json": json_schema_of(body),
            PROTOBUF_MEDIA_TYPE: BINARY_SCHEMA,
        },
        answers={200: json_schema_of(OtlpAnswer), (200, PROTOBUF_MEDIA_TYPE): BINARY_SCHEMA},
        error=ERROR_RECORD_SCHEMA,
    )


def is_protobuf(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == PROTOBUF_MEDIA_TYPE


class OtlpAnswerStyle(ReveniumAnswerStyle):
    """Answers to protobuf as protobuf."""

    def encode_for(self, headers: Mapping[str, str], answer: Answer) -> Answer:
        if not is_protobuf(headers):
            return answer
        return replace(answer, body=_as_protobuf(answer), content_type=PROTOBUF_MEDIA_TYPE)


class OtlpDialect(OtlpAnswerStyle, Dialect):
    """Items of a signal over OTLP/HTTP. Those that are no calls are ignored, and counted so."""

    signal: ClassVar[Signal]

    def token_of(self, incoming: IncomingPost) -> str:
        """Return the token in a header, else in an attribute of the first resource."""
        headers = incoming.headers
        if "authorization" in headers or "x-api-key" in headers:
            return super().token_of(incoming)
        encoding = headers.get("content-encoding", "")
        return token_in_resource(incoming.raw_body(), encoding, protobuf=is_protobuf(headers))

    def read(self, post: GatewayPost) -> ParsedBody:
        records = decode_records(post.body, self.signal, protobuf=is_protobuf(post.headers))
        return self.read_records(records, post)

    def read_records(
        self, records: Sequence[ParsedLogRecord | ItemRejected], post: GatewayPost
    ) -> ParsedBody:
        """Return the calls among the records of a body. Raises APIException."""
        raise NotImplementedError

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        success = PartialSuccess()
        if reading.rejected:
            number = str(len(reading.rejected))
            if self.signal is SPANS:
                success.rejected_spans = number
            else:
                success.rejected_log_records = number
            success.error_message = _rejections_message(reading.rejected)
        body = OtlpAnswer(
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
            return replace(answer, body=OtlpRejected(**asdict(answer.body), **asdict(body)))
        return Answer(200, body)


class OtlpLogsDialect(OtlpDialect):
    """Log records: of programs that report usage, and of gateways that log calls."""

    signal = LOGS
    documented = _documentation(
        name="revenium_v2_otlp_logs",
        summary="Log records over OTLP/HTTP",
        description=(
            "As JSON or protobuf, up to 1,000 records. A record is a call if it carries usage, or "
            "has a transaction id, a key or a subscription; others are ignored. The attribute "
            "`subscriber.credential` of a record or its resource names the key, and "
            "`subscription.id` the subscription. Lines of a gateway's own log are read by its "
            "format, as at `/v1/lines`. The answer's `partialSuccess` says which records were "
            "rejected, and why; it is 400 if all of them were. Also at `/v1/logs`."
        ),
        body=DocumentedLogs,
    )

    def read_records(
        self, records: Sequence[ParsedLogRecord | ItemRejected], post: GatewayPost
    ) -> ParsedBody:
        lines, line_positions = _read_lines(records, post)
        positions = [
            position
            for position in call_positions(records, post.gateway)
            if position not in line_positions
        ]
        reading = _read_calls(records, positions, post)
        reading.passed_over -= len(line_positions)
        if lines:
            reading.calls = [*lines.calls, *reading.calls]
            rejected = [*lines.rejected, *reading.rejected]
            reading.rejected = sorted(rejected, key=lambda item: item.told.index or 0)
            reading.passed_over += lines.ignored
        return reading


class OtlpTracesDialect(OtlpDialect):
    """Spans. Those of requests to models are calls, all others are acknowledged."""

    signal = SPANS
    documented = _documentation(
        name="revenium_v2_otlp_traces",
        summary="Spans over OTLP/HTTP",
        description=(
            "As JSON or protobuf, up to 1,000 spans. A span is a call if it is of one request to a "
            "model, by the attributes `gen_ai.…`; others are ignored. A response that log records "
            "report as well, by the same `gen_ai.response.id`, is counted once. Attributes and "
            "answers are those of log records. Also at `/v1/traces`."
        ),
        body=DocumentedTraces,
    )

    def read_records(
        self, records: Sequence[ParsedLogRecord | ItemRejected], post: GatewayPost
    ) -> ParsedBody:
        positions = [
            position
            for position, record in enumerate(records)
            if isinstance(record, ItemRejected) or is_model_span(record)
        ]
        return _read_calls(records, positions, post)


def _read_lines(
    records: Sequence[ParsedLogRecord | ItemRejected], post: GatewayPost
) -> tuple[LinesReader | None, set[int]]:
    """Return what the gateway's format reads, and the indexes of the records that it has read."""
    if not has_log_of_calls(post.gateway):
        return None, set()
    reader = AccessRecordReader(post)
    positions = {
        position
        for position, record in enumerate(records)
        if isinstance(record, ParsedLogRecord) and reader.read(position, record)
    }
    return reader.lines, positions


def _read_calls(
    records: Sequence[ParsedLogRecord | ItemRejected], positions: Sequence[int], post: GatewayPost
) -> ParsedBody:
    """Return the calls that the records at these positions are."""
    call_records = [records[position] for position in positions]
    call_maker = RecordCallMaker.for_post(post, call_records)
    calls, rejected = accept_or_reject(call_records, call_maker.call_of)
    # An index among the calls means nothing to the sender, who knows the body alone.
    for item in rejected:
        place = item.told.index or 0
        record = call_records[place]
        if isinstance(record, ParsedLogRecord):
            item.key = record.attribute(KEY_ATTRIBUTES)
        item.told.index = positions[place]
    return ParsedBody(calls, rejected, passed_over=len(records) - len(positions))


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
    number = success.rejected_log_records or success.rejected_spans
    # The message for spans has the same fields under the same numbers.
    message = None
    if number:
        message = ExportLogsPartialSuccess(
            rejected_log_records=int(number), error_message=success.error_message or ""
        )
    response = ExportLogsServiceResponse(partial_success=message)
    return bytes(response.SerializeToString())
