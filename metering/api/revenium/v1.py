"""Metering API v1: one finished call at once."""

from typing import Any
from uuid import UUID

import msgspec

from metering.api import facts
from metering.api.documentation import Documented, schema_of
from metering.api.doors import Answer, Post, Reading
from metering.api.revenium import fields, metadata
from metering.api.revenium.dialect import Body, ReveniumDialect, Said, dated, marks_of, new_id
from metering.api.revenium.elements import counted
from metering.api.revenium.fields import Fact, Number, Text
from metering.api.revenium.records import ERROR, ERRORS
from metering.inbox.calls import ONE_CALL, Call

TAG = "Revenium: metering v1"


class Element(msgspec.Struct, kw_only=True):
    name: str
    value: Any = None


class Metered(Body):
    """MeteringRequestDTO."""

    application: Text = None
    product_key: Text = None
    api: Text = None
    method: Fact = None
    url: Fact = None
    response_code: Number = None
    request_message_size: Number = None
    response_message_size: Number = None
    backend_latency: Number = None
    gateway_latency: Number = None
    elements: list[Element] | None = None


LABELS = (
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


class Meter(ReveniumDialect[Metered]):
    """POST /meter/v1/api/meter. Its clients send no id, so that each post is a call of its own."""

    item = Metered
    documented = Documented(
        name="revenium_v1_meter",
        summary="A finished call",
        tag=TAG,
        request={"application/json": schema_of(Metered)},
        answers={200: {"type": "object"}},
        errors=ERRORS,
        error=ERROR,
    )

    def call_of(self, item: Metered, said: Said, post: Post) -> Call:
        elements, texts = counted((each.name, each.value) for each in item.elements or ())
        return Call(
            transaction_id=new_id(post),
            subscription_named=fields.text("productKey", item.product_key),
            source_named=fields.text("api", item.api),
            method=method_of(item.method),
            path=fields.path(fields.fact(item.url)),
            status=fields.status("responseCode", item.response_code),
            request_bytes=fields.whole("requestMessageSize", item.request_message_size),
            response_bytes=fields.whole("responseMessageSize", item.response_message_size),
            latency_ms=latency_of(item.backend_latency, item.gateway_latency),
            elements=ONE_CALL | elements,
            metadata=metadata.kept(texts | metadata.kept(said, LABELS)) or None,
            **marks_of("application", item.application),
            **dated(None, post),
        )

    def answer(self, post: Post, reading: Reading, delivery: UUID) -> Answer:
        return Answer(200, {})


def latency_of(backend: Number, gateway: Number) -> float | None:
    """Milliseconds spent behind the gateway and in it."""
    spent = (
        fields.decimal("backendLatency", backend),
        fields.decimal("gatewayLatency", gateway),
    )
    known = [each for each in spent if each is not None]
    return sum(known) if known else None


def method_of(said: Fact) -> str | None:
    method: str | None = facts.readable(facts.method, said)
    return method
