"""CloudEvents 1.0: one in JSON, several in an array, or one in the headers.

`subject` names the key, or the subscription where the gateway says so; the numbers in `data` are
the elements.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import unquote
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import APIException

from metering.api import facts
from metering.api.acceptance import (
    Acceptance,
    EventsProblem,
    acceptance_of,
    acceptance_status,
    first_message,
)
from metering.api.decoding import MAX_ITEMS_PER_BODY, ItemDecoder, ItemRejected
from metering.api.dialects import Answer, Dialect, GatewayPost, ParsedBody
from metering.api.documentation import DoorDocumentation
from metering.api.errors import UnknownEventFormat
from metering.api.quantities import decode_exact_values, elements_of
from metering.api.transactions import (
    AcceptanceWindow,
    accept_or_reject,
    checked_key_fields,
)
from metering.inbox.calls import ONE_CALL, Call, public_id_fields
from revcred.api.errors import ApiError
from revcred.api.schema import json_schema_of
from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.models import Gateway

ATTRIBUTE_HEADER_PREFIX = "ce-"  # of a header that carries an attribute
MAX_SUBSCRIPTION_CHARACTERS = 200
CLOUDEVENTS_MEDIA_TYPE = "application/cloudevents"

AttributeText = Annotated[str, Meta(min_length=1, max_length=500)]


class CloudEvent(msgspec.Struct, kw_only=True):
    """A CloudEvent 1.x. Attributes that are not among these are ignored."""

    specversion: Annotated[str, Meta(pattern=r"^1\.[0-9]+$")]
    id: Annotated[str, Meta(min_length=1, max_length=200)]
    source: Annotated[AttributeText, Meta(description="Identifies an event together with `id`.")]
    type: AttributeText
    subject: (
        Annotated[
            str,
            Meta(
                description="The caller's key, the subscription's external key, or the "
                "credential's public id, as it is set for the gateway.",
                extra_json_schema={"maxLength": MAX_KEY_CHARACTERS},
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    time: (
        Annotated[datetime, Meta(tz=True, description="Without it, the moment of arrival.")]
        | UnsetType
        | None
    ) = UNSET
    data: Annotated[
        msgspec.Raw,
        Meta(extra_json_schema={"description": "Numbers in it are counted. None: one call."}),
    ] = msgspec.field(default_factory=partial(msgspec.Raw, b"null"))

    @property
    def transaction_id(self) -> str:
        return transaction_id_of_event(self.source, self.id)


def transaction_id_of_event(source: str, event_id: str) -> str:
    """Return an id that is unique as source and id together, with the last slash between them.

    Slashes within the event's id are escaped: else two different pairs could make one id.
    """
    return f"{source}/{event_id.replace('%', '%25').replace('/', '%2F')}"


def _transaction_id_in_json(event: Mapping[str, Any]) -> str | None:
    source, event_id = event.get("source"), event.get("id")
    if not isinstance(source, str) or not isinstance(event_id, str):
        return None
    return transaction_id_of_event(source, event_id)


# Without facts: all attributes of an event that are read here decide whose the call is.
event_decoder = ItemDecoder(CloudEvent, id_of=_transaction_id_in_json)

EVENT_SCHEMA = json_schema_of(CloudEvent)
EVENT_ARRAY_SCHEMA = {
    "type": "array",
    "items": EVENT_SCHEMA,
    "minItems": 1,
    "maxItems": MAX_ITEMS_PER_BODY,
}
# `application/json` is no media type of CloudEvents, but some clients send it.
EVENT_REQUEST_SCHEMAS = {
    f"{CLOUDEVENTS_MEDIA_TYPE}+json": EVENT_SCHEMA,
    f"{CLOUDEVENTS_MEDIA_TYPE}-batch+json": EVENT_ARRAY_SCHEMA,
    "application/json": {"oneOf": [EVENT_SCHEMA, EVENT_ARRAY_SCHEMA]},
}
# The format of OpenMeter's own errors, RFC 9457.
PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_SCHEMA = json_schema_of(EventsProblem)


def decode_events(post: GatewayPost) -> list[CloudEvent | ItemRejected]:
    """Return each event of a post, or its rejection.

    Raises:
        MalformedRequest, BodyTooLarge: the body cannot be split into events, or has too many.
        UnknownEventFormat: it is a CloudEvent in another format than JSON.
    """
    body = post.body
    if post.media_type.startswith(CLOUDEVENTS_MEDIA_TYPE):
        if not post.media_type.endswith("+json"):
            raise UnknownEventFormat
    # This one header is how a receiver tells the binary mode from JSON in the body.
    elif f"{ATTRIBUTE_HEADER_PREFIX}specversion" in post.headers:
        body = _binary_event_to_json(body, post.headers)
    return event_decoder.decode(body, post.media_type)


def _binary_event_to_json(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return an event with its attributes in headers as JSON, which has one decoder for all.

    A body that is not JSON holds no numbers that could be counted, and is left out.
    """
    event: dict[str, Any] = {
        name[len(ATTRIBUTE_HEADER_PREFIX) :].lower(): unquote(value)
        for name, value in headers.items()
        if name.lower().startswith(ATTRIBUTE_HEADER_PREFIX)
    }
    # Raw, so that numbers keep all their digits on the way through.
    try:
        event["data"] = msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        event.pop("data", None)
    return msgspec.json.encode(event)


def call_from_event(
    event: CloudEvent, gateway: Gateway, window: AcceptanceWindow, now: datetime
) -> Call:
    """Return an event as a call in the inbox's terms, with its key in clear until it is encoded.

    Raises:
        ItemRejected: the moment is outside the window, or subject or data cannot be read.
    """
    occurred_at = event.time or now
    window.check(occurred_at, "time")
    data = decode_exact_values(event.data)
    elements = elements_of(data, gateway.event_elements)
    # An admin chooses for each gateway what `subject` means.
    names_subscription = gateway.event_subject == Gateway.EventSubject.SUBSCRIPTION
    return Call(
        transaction_id=event.transaction_id,
        occurred_at=occurred_at.astimezone(UTC),
        subscription_named=_subscription_in_subject(event) if names_subscription else None,
        elements=elements or ONE_CALL,
        metadata=_metadata_of_event(event, data, elements),
        undated=not event.time,
        **({} if names_subscription else _key_fields_of_subject(event, gateway)),
    )


def _key_fields_of_subject(event: CloudEvent, gateway: Gateway) -> dict[str, Any]:
    """Return the fields of a call under the key, alias or public id in an event's subject."""
    subject = event.subject or ""
    if gateway.event_subject == Gateway.EventSubject.CREDENTIAL and (
        named := public_id_fields(subject)
    ):
        return named
    return checked_key_fields("subject", subject)


def _subscription_in_subject(event: CloudEvent) -> str | None:
    """Return the subscription that an event names, if any. Raises ItemRejected."""
    external_key = event.subject or ""
    if len(external_key) > MAX_SUBSCRIPTION_CHARACTERS:
        limit = MAX_SUBSCRIPTION_CHARACTERS
        raise ItemRejected("subject", "too_long", f"A subscription has at most {limit} characters.")
    return external_key or None


def _metadata_of_event(event: CloudEvent, data: Any, elements: Mapping[str, Any]) -> dict[str, Any]:
    """Return type, source and the rest of the data, without the data if that is too large."""
    attributes = {"type": event.type, "source": event.source}
    # Elements are stored as such, so that only the rest of the data is metadata.
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in elements}
    if data:
        metadata: dict[str, Any] = attributes | {"data": data}
        return metadata if facts.fits_metadata(metadata) else attributes
    return attributes


class CloudEventsDialect(Dialect):
    """CloudEvents over HTTP, answered as `/v1/transactions` is."""

    documented = DoorDocumentation(
        name="post_events",
        summary="Post metered calls as CloudEvents",
        description=(
            "CloudEvents 1.0 over HTTP: structured, in a batch of up to 1,000, or binary, with "
            "the attributes in headers that begin with `ce-`. `subject` names the caller's key, "
            "or the subscription or credential if the gateway is set up so; the numbers in `data` "
            "are the elements. `source`, a slash and `id` are the transaction's id. 400 if every "
            "event was rejected; else `rejected` lists those that were."
        ),
        tag="CloudEvents",
        request=EVENT_REQUEST_SCHEMAS,
        answers={202: json_schema_of(Acceptance)},
    )

    def read(self, post: GatewayPost) -> ParsedBody:
        make_call = partial(
            call_from_event,
            gateway=post.gateway,
            window=AcceptanceWindow.for_gateway(post.gateway, post.now),
            now=post.now,
        )
        return ParsedBody(*accept_or_reject(decode_events(post), make_call))

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        body = acceptance_of(delivery, reading.calls, reading.rejected)
        return Answer(acceptance_status(reading.calls, reading.rejected), body)


class OpenMeterDialect(CloudEventsDialect):
    """CloudEvents of OpenMeter's clients, answered with 204 or a problem (RFC 9457)."""

    documented = DoorDocumentation(
        name="post_openmeter_events",
        summary="Post events with OpenMeter's clients",
        description=(
            "As `/v1/events`, answered as OpenMeter's clients expect it. 400 if any event was "
            "rejected: `rejected` lists those, and all others are stored."
        ),
        tag="CloudEvents",
        request=EVENT_REQUEST_SCHEMAS,
        answers={204: None}
        | {(status, PROBLEM_MEDIA_TYPE): PROBLEM_SCHEMA for status in DoorDocumentation.errors},
        errors=(),
    )

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        # 204 has no body that could list rejected events, so that one of them makes it 400. Clients
        # may then send the whole batch again; events accepted before are counted once.
        if not reading.rejected:
            return Answer(204)
        told = [item.told for item in reading.rejected]
        problem = _problem(
            HTTPStatus.BAD_REQUEST, ApiError(told[0].code, first_message(reading.rejected))
        )
        problem.delivery, problem.accepted, problem.rejected = delivery, len(reading.calls), told
        return Answer(problem.status, problem, content_type=PROBLEM_MEDIA_TYPE)

    def answer_error(self, error: APIException, path: str) -> Answer:
        answer = super().answer_error(error, path)
        problem = _problem(HTTPStatus(answer.status), answer.body)
        return replace(answer, body=problem, content_type=PROBLEM_MEDIA_TYPE)


def _problem(status: HTTPStatus, error: ApiError) -> EventsProblem:
    return EventsProblem(
        code=error.code,
        message=error.message,
        title=status.phrase,
        status=status.value,
        detail=error.message,
    )
