"""Calls that come in halves, in whatever order: what was asked, and what was answered."""

from uuid import UUID

from metering.api.decoding import Refused
from metering.api.documentation import Documented, schema_of
from metering.api.doors import Answer, Post, Reading
from metering.api.revenium import fields, metadata, v1
from metering.api.revenium.dialect import Body, ReveniumDialect, Said, dated, id_of, marks_of
from metering.api.revenium.fields import Fact, Moment, Number, Text
from metering.api.revenium.records import ERROR, ERRORS
from metering.api.revenium.v2 import V2, documented
from metering.inbox.calls import ONE_CALL, Call
from metering.pairing.partial_transactions import Side


class Event(Body):
    """ApiEventDTO."""

    request_id: Text = None
    event_type: Text = None
    asset_id: Text = None
    application: Text = None
    client_id: Text = None
    product_key: Text = None
    current_millis: Moment = None
    method: Fact = None
    uri: Fact = None
    url: Fact = None
    response_code: Number = None
    request_message_size: Number = None
    response_message_size: Number = None
    elapsed_time: Number = None
    backend_latency: Number = None


class V1Events(ReveniumDialect[Event]):
    """POST /meter/v1/api/event. A half without an id is a call by itself."""

    item = Event
    documented = Documented(
        name="revenium_v1_event",
        summary="Half a call: a REQUEST, or its RESPONSE",
        description="Joined by `requestId`, in whatever order and however far apart they come.",
        tag=v1.TAG,
        request={"application/json": schema_of(Event)},
        answers={201: None},
        errors=ERRORS,
        error=ERROR,
    )

    def side_of(self, item: Event) -> Side | None:
        said = (fields.text("eventType", item.event_type) or Side.REQUEST).lower()
        if said not in Side.values:
            raise Refused("eventType", "invalid", "It is neither REQUEST nor RESPONSE.")
        return Side(said) if item.request_id else None

    def call_of(self, item: Event, said: Said, post: Post) -> Call:
        return Call(
            transaction_id=id_of("requestId", item.request_id, post),
            subscription_named=fields.text("productKey", item.product_key),
            source_named=fields.text("assetId", item.asset_id),
            method=v1.method_of(item.method),
            path=fields.path(fields.fact(item.uri) or fields.fact(item.url)),
            status=fields.status("responseCode", item.response_code),
            request_bytes=fields.whole("requestMessageSize", item.request_message_size),
            response_bytes=fields.whole("responseMessageSize", item.response_message_size),
            latency_ms=fields.decimal("elapsedTime", item.elapsed_time)
            or fields.decimal("backendLatency", item.backend_latency),
            elements=ONE_CALL,
            metadata=metadata.kept(said, v1.LABELS) or None,
            **marks_of("application", item.application or item.client_id),
            **dated(fields.moment("currentMillis", item.current_millis), post),
        )

    def answer(self, post: Post, reading: Reading, delivery: UUID) -> Answer:
        return Answer(201)


class ApiRequest(Body):
    transaction_id: Text = None
    credential: Text = None
    method: Fact = None
    resource: Fact = None
    source_id: Text = None
    request_message_size: Number = None


class ApiResponse(Body):
    transaction_id: Text = None
    response_code: Number = None
    response_message_size: Number = None
    total_duration: Number = None
    backend_latency: Number = None
    gateway_latency: Number = None


LABELS = ("sourceType", "contentType", "remoteHost", "userAgent")


class ApiRequests(V2[ApiRequest]):
    """POST /meter/v2/apis/requests"""

    item = ApiRequest
    documented = documented("apis_requests", "What was asked", ApiRequest)

    def side_of(self, item: ApiRequest) -> Side | None:
        return Side.REQUEST if item.transaction_id else None

    def call_of(self, item: ApiRequest, said: Said, post: Post) -> Call:
        return Call(
            transaction_id=id_of("transactionId", item.transaction_id, post),
            source_named=fields.text("sourceId", item.source_id),
            method=v1.method_of(item.method),
            path=fields.path(fields.fact(item.resource)),
            request_bytes=fields.whole("requestMessageSize", item.request_message_size),
            elements=ONE_CALL,
            metadata=metadata.kept(said, LABELS) or None,
            **marks_of("credential", item.credential),
            **dated(None, post),
        )


class ApiResponses(V2[ApiResponse]):
    """POST /meter/v2/apis/responses"""

    item = ApiResponse
    documented = documented("apis_responses", "What was answered", ApiResponse)

    def side_of(self, item: ApiResponse) -> Side | None:
        return Side.RESPONSE if item.transaction_id else None

    def call_of(self, item: ApiResponse, said: Said, post: Post) -> Call:
        return Call(
            transaction_id=id_of("transactionId", item.transaction_id, post),
            status=fields.status("responseCode", item.response_code),
            response_bytes=fields.whole("responseMessageSize", item.response_message_size),
            latency_ms=fields.decimal("totalDuration", item.total_duration)
            or v1.latency_of(item.backend_latency, item.gateway_latency),
            elements=ONE_CALL,
            metadata=metadata.kept(said, ["contentType"]) or None,
            **dated(None, post),
        )
