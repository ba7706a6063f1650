"""Revenium's metering API v1: finished calls."""

from typing import Any
from uuid import UUID

import msgspec

from metering.api import facts
from metering.api.dialects import Answer, GatewayPost, ParsedBody
from metering.api.documentation import DoorDocumentation
from metering.api.revenium import fields, metadata
from metering.api.revenium.dialect import (
    JsonFields,
    ReveniumBody,
    ReveniumDialect,
    key_fields_of,
    new_transaction_id,
    occurrence_fields,
)
from metering.api.revenium.elements import split_elements
from metering.api.revenium.fields import NumberFact, TextFact, TextValue
from metering.api.revenium.records import ERROR_RECORD_SCHEMA, ERROR_STATUSES
from metering.inbox.calls import ONE_CALL, Call
from revcred.api.schema import json_schema_of

V1_TAG = "Revenium: metering v1"


class MeteredElement(msgspec.Struct, kw_only=True):
    """A named quantity. A value that is no number becomes metadata."""

    name: str
    value: Any = None


class MeteringRequest(ReveniumBody):
    """A finished call, which Revenium calls MeteringRequestDTO."""

    application: TextValue = None
    product_key: TextValue = None
    api: TextValue = None
    method: TextFact = None
    url: TextFact = None
    response_code: NumberFact = None
    request_message_size: NumberFact = None
    response_message_size: NumberFact = None
    backend_latency: NumberFact = None
    gateway_latency: NumberFact = None
    elements: list[MeteredElement] | None = None


# Fields without a column that are kept as metadata; unlisted ones are dropped.
METER_LABELS = (
    "metadata",
    "correlationId",
    "source",
    "remoteHost",
    "remoteUser",
    "userAgent",
    "contentType",
    "httpProtocol",
    "timedOut",
)


class MeterDialect(ReveniumDialect[MeteringRequest]):
    """POST /meter/v1/api/meter

    Its clients send no id: without an idempotency key each post is a call of its own.
    """

    item = MeteringRequest
    documented = DoorDocumentation(
        name="revenium_v1_meter",
        summary="A finished call",
        tag=V1_TAG,
        request={"application/json": json_schema_of(MeteringRequest)},
        answers={200: {"type": "object"}},
        errors=ERROR_STATUSES,
        error=ERROR_RECORD_SCHEMA,
    )

    def call_of(self, item: MeteringRequest, data: JsonFields, post: GatewayPost) -> Call:
        elements, texts = split_elements(
            (element.name, element.value) for element in item.elements or ()
        )
        return Call(
            transaction_id=new_transaction_id(post),
            subscription_named=fields.parse_text("productKey", item.product_key),
            source_named=fields.parse_text("api", item.api),
            method=method_or_none(item.method),
            path=fields.path_of_address(fields.parse_text_fact(item.url)),
            status=fields.parse_status("responseCode", item.response_code),
            request_bytes=fields.parse_size("requestMessageSize", item.request_message_size),
            response_bytes=fields.parse_size("responseMessageSize", item.response_message_size),
            latency_ms=total_latency(item.backend_latency, item.gateway_latency),
            elements=ONE_CALL | elements,
            metadata=metadata.kept_metadata(texts | metadata.kept_metadata(data, METER_LABELS))
            or None,
            **key_fields_of("application", item.application),
            # There is no field for the moment: its arrival stands for it.
            **occurrence_fields(None, post),
        )

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        return Answer(200, {})


def total_latency(backend: NumberFact, gateway: NumberFact) -> float | None:
    """Return the milliseconds behind the gateway and within it together."""
    latencies = (
        fields.parse_latency("backendLatency", backend),
        fields.parse_latency("gatewayLatency", gateway),
    )
    known = [latency for latency in latencies if latency is not None]
    return sum(known) if known else None


def method_or_none(value: TextFact) -> str | None:
    """Return a method of HTTP, or None if it cannot be read."""
    method: str | None = facts.read_or_none(facts.read_method, value)
    return method
