"""Doors for partial transactions: a request and its response, posted apart and in any order."""

from uuid import UUID

from metering.api.decoding import ItemRejected
from metering.api.dialects import Answer, GatewayPost, ParsedBody
from metering.api.documentation import DoorDocumentation
from metering.api.revenium import fields, metadata, v1
from metering.api.revenium.dialect import (
    JsonFields,
    ReveniumBody,
    ReveniumDialect,
    key_fields_of,
    occurrence_fields,
    transaction_id_or_new,
)
from metering.api.revenium.fields import MomentValue, NumberFact, TextFact, TextValue
from metering.api.revenium.records import ERROR_RECORD_SCHEMA, ERROR_STATUSES
from metering.api.revenium.v2 import V2Dialect, v2_documentation
from metering.inbox.calls import ONE_CALL, Call
from metering.pairing.partial_transactions import PartialSide
from revcred.api.schema import json_schema_of


class ApiEvent(ReveniumBody):
    """A request or its response, which Revenium calls ApiEventDTO."""

    request_id: TextValue = None
    event_type: TextValue = None
    asset_id: TextValue = None
    application: TextValue = None
    client_id: TextValue = None
    product_key: TextValue = None
    current_millis: MomentValue = None
    method: TextFact = None
    uri: TextFact = None
    url: TextFact = None
    response_code: NumberFact = None
    request_message_size: NumberFact = None
    response_message_size: NumberFact = None
    elapsed_time: NumberFact = None
    backend_latency: NumberFact = None


class V1EventsDialect(ReveniumDialect[ApiEvent]):
    """POST /meter/v1/api/event

    An event without an id cannot be paired, and is a call of its own.
    """

    item = ApiEvent
    documented = DoorDocumentation(
        name="revenium_v1_event",
        summary="A partial transaction: a REQUEST, or its RESPONSE",
        description="Both are paired by `requestId`, in any order and at any distance.",
        tag=v1.V1_TAG,
        request={"application/json": json_schema_of(ApiEvent)},
        answers={201: None},
        errors=ERROR_STATUSES,
        error=ERROR_RECORD_SCHEMA,
    )

    def side_of(self, item: ApiEvent) -> PartialSide | None:
        event_type = fields.parse_text("eventType", item.event_type) or PartialSide.REQUEST
        if event_type.lower() not in PartialSide.values:
            raise ItemRejected("eventType", "invalid", "It must be REQUEST or RESPONSE.")
        # Nothing pairs an event without id: it counts by itself, as far as it says whose it is.
        return PartialSide(event_type.lower()) if item.request_id else None

    def call_of(self, item: ApiEvent, data: JsonFields, post: GatewayPost) -> Call:
        return Call(
            transaction_id=transaction_id_or_new("requestId", item.request_id, post),
            subscription_named=fields.parse_text("productKey", item.product_key),
            source_named=fields.parse_text("assetId", item.asset_id),
            method=v1.method_or_none(item.method),
            path=fields.path_of_address(
                fields.parse_text_fact(item.uri) or fields.parse_text_fact(item.url)
            ),
            status=fields.parse_status("responseCode", item.response_code),
            request_bytes=fields.parse_size("requestMessageSize", item.request_message_size),
            response_bytes=fields.parse_size("responseMessageSize", item.response_message_size),
            # The whole time if it is known, else at least that behind the gateway.
            latency_ms=fields.parse_latency("elapsedTime", item.elapsed_time)
            or fields.parse_latency("backendLatency", item.backend_latency),
            elements=ONE_CALL,
            metadata=metadata.kept_metadata(data, v1.METER_LABELS) or None,
            **key_fields_of("application", item.application or item.client_id),
            **occurrence_fields(fields.parse_moment("currentMillis", item.current_millis), post),
        )

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        return Answer(201)


# Version 2 has one address for requests and one for responses, where version 1 has a field.
class ApiRequest(ReveniumBody):
    """The request of a call, known before the response is there."""

    transaction_id: TextValue = None
    credential: TextValue = None
    method: TextFact = None
    resource: TextFact = None
    source_id: TextValue = None
    request_message_size: NumberFact = None


class ApiResponse(ReveniumBody):
    """The response of a call. It names no key: whose it is follows from the request."""

    transaction_id: TextValue = None
    response_code: NumberFact = None
    response_message_size: NumberFact = None
    total_duration: NumberFact = None
    backend_latency: NumberFact = None
    gateway_latency: NumberFact = None


# Fields without a column that are kept as metadata.
API_CALL_LABELS = ("sourceType", "contentType", "remoteHost", "userAgent")


class ApiRequestsDialect(V2Dialect[ApiRequest]):
    """POST /meter/v2/apis/requests"""

    item = ApiRequest
    documented = v2_documentation("apis_requests", "The request of a call", ApiRequest)

    def side_of(self, item: ApiRequest) -> PartialSide | None:
        return PartialSide.REQUEST if item.transaction_id else None

    def call_of(self, item: ApiRequest, data: JsonFields, post: GatewayPost) -> Call:
        return Call(
            transaction_id=transaction_id_or_new("transactionId", item.transaction_id, post),
            source_named=fields.parse_text("sourceId", item.source_id),
            method=v1.method_or_none(item.method),
            path=fields.path_of_address(fields.parse_text_fact(item.resource)),
            request_bytes=fields.parse_size("requestMessageSize", item.request_message_size),
            elements=ONE_CALL,
            metadata=metadata.kept_metadata(data, API_CALL_LABELS) or None,
            **key_fields_of("credential", item.credential),
            **occurrence_fields(None, post),
        )


class ApiResponsesDialect(V2Dialect[ApiResponse]):
    """POST /meter/v2/apis/responses"""

    item = ApiResponse
    documented = v2_documentation("apis_responses", "The response of a call", ApiResponse)

    def side_of(self, item: ApiResponse) -> PartialSide | None:
        return PartialSide.RESPONSE if item.transaction_id else None

    def call_of(self, item: ApiResponse, data: JsonFields, post: GatewayPost) -> Call:
        return Call(
            transaction_id=transaction_id_or_new("transactionId", item.transaction_id, post),
            status=fields.parse_status("responseCode", item.response_code),
            response_bytes=fields.parse_size("responseMessageSize", item.response_message_size),
            # The whole time if it is known, else the sum of its parts.
            latency_ms=fields.parse_latency("totalDuration", item.total_duration)
            or v1.total_latency(item.backend_latency, item.gateway_latency),
            elements=ONE_CALL,
            metadata=metadata.kept_metadata(data, ["contentType"]) or None,
            **occurrence_fields(None, post),
        )
