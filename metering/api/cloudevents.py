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
from metering.api.decoding import MOST_ITEMS, Decoder, Refused
from metering.api.documentation import ACCEPTANCE, Documented, schema_of
from metering.api.doors import Answer, Dialect, Post, Reading
from metering.api.errors import UnknownFormat
from metering.api.quantities import elements_of, values_of
from metering.api.transactions import (
    Window,
    answer_of,
    checked_marks,
    judge,
    status_of,
    why_nothing,
)
from metering.inbox.calls import ONE_CALL, Call
from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.models import Gateway

ATTRIBUTE = "ce-"  # how a header's name begins that is one
MAX_SUBSCRIPTION_CHARACTERS = 200
STRUCTURED = "application/cloudevents"

Text = Annotated[str, Meta(min_length=1, max_length=500)]


class Event(msgspec.Struct, kw_only=True):
    """A CloudEvent. Attributes that are not among these are let pass."""

    specversion: Annotated[str, Meta(pattern=r"^1\.[0-9]+$")]
    id: Annotated[str, Meta(min_length=1, max_length=200)]
    source: Annotated[Text, Meta(description="With `id` it tells an event from all others.")]
    type: Text
    subject: (
        Annotated[
            str,
            Meta(
                description="The key, or the subscription's external key.",
                extra_json_schema={"maxLength": MAX_KEY_CHARACTERS},
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    time: (
        Annotated[datetime, Meta(tz=True, description="Without it, the moment it arrives.")]
        | UnsetType
        | None
    ) = UNSET
    data: Annotated[
        msgspec.Raw,
        Meta(extra_json_schema={"description": "Numbers in it are counted. None: one call."}),
    ] = msgspec.field(default_factory=partial(msgspec.Raw, b"null"))

    @property
    def transaction_id(self) -> str:
        return id_of(self.source, self.id)


def id_of(source: str, event_id: str) -> str:
    """Unique as source and id are together: the last slash is between them."""
    return f"{source}/{event_id.replace('%', '%25').replace('/', '%2F')}"


def _said_id(event: Mapping[str, Any]) -> str | None:
    source, event_id = event.get("source"), event.get("id")
    is_told = isinstance(source, str) and isinstance(event_id, str)
    return id_of(source, event_id) if is_told else None  # type: ignore[arg-type]


decoder = Decoder(Event, id_of=_said_id)

ONE = schema_of(Event)
MANY = {"type": "array", "items": ONE, "minItems": 1, "maxItems": MOST_ITEMS}
FORMATS = {
    f"{STRUCTURED}+json": ONE,
    f"{STRUCTURED}-batch+json": MANY,
    "application/json": {"oneOf": [ONE, MANY]},
}
PROBLEM_TYPE = "application/problem+json"
PROBLEM = {
    "type": "object",
    "required": ["title", "status", "detail", "code"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}


def read_in(post: Post) -> list[Event | Refused]:
    """Raises Malformed, TooLarge, UnknownFormat."""
    body = post.body
    if post.media_type.startswith(STRUCTURED):
        if not post.media_type.endswith("+json"):
            raise UnknownFormat
    elif f"{ATTRIBUTE}specversion" in post.headers:
        body = _as_one_object(body, post.headers)
    return decoder.decode(body, post.media_type)


def _as_one_object(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The same event. A body that is not JSON has nothing in it to be counted."""
    event: dict[str, Any] = {
        name[len(ATTRIBUTE) :].lower(): unquote(value)
        for name, value in headers.items()
        if name.lower().startswith(ATTRIBUTE)
    }
    try:
        event["data"] = msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        event.pop("data", None)
    return msgspec.json.encode(event)


def call_of(event: Event, gateway: Gateway, window: Window, now: datetime) -> Call:
    """The call in the inbox's terms. Its key becomes a fingerprint when it is encoded.

    Raises Refused.
    """
    occurred_at = event.time or now
    window.check(occurred_at, "time")
    data = values_of(event.data)
    elements = elements_of(data, gateway.event_elements)
    is_key = gateway.event_subject == Gateway.EventSubject.KEY
    key = event.subject or None if is_key else None
    return Call(
        transaction_id=event.transaction_id,
        occurred_at=occurred_at.astimezone(UTC),
        subscription_named=None if is_key else _subscription(event),
        elements=elements or ONE_CALL,
        metadata=_metadata(event, data, elements),
        undated=not event.time,
        **checked_marks("subject", key),
    )


def _subscription(event: Event) -> str | None:
    """Raises Refused."""
    named = event.subject or ""
    if len(named) > MAX_SUBSCRIPTION_CHARACTERS:
        most = MAX_SUBSCRIPTION_CHARACTERS
        raise Refused("subject", "too_long", f"A subscription has at most {most} characters.")
    return named or None


def _metadata(event: Event, data: Any, elements: Mapping[str, Any]) -> dict[str, Any]:
    """What the event says besides, without its data if that is too much to keep."""
    said = {"type": event.type, "source": event.source}
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in elements}
    if data:
        kept: dict[str, Any] = said | {"data": data}
        return kept if facts.may_be_kept(kept) else said
    return said


class CloudEvents(Dialect):
    documented = Documented(
        name="post_events",
        summary="Post metered calls as CloudEvents",
        description=(
            "CloudEvents 1.0 over HTTP: structured, in a batch of up to 1,000, or binary, with "
            "the attributes in headers that begin with `ce-`. `subject` names the caller's key, "
            "or the subscription where the gateway is set so; the numbers in `data` are the "
            "elements. `source`, a slash and `id` are the transaction's id. 400 if nothing was "
            "taken; else `rejected` says what was not."
        ),
        tag="CloudEvents",
        request=FORMATS,
        answers={202: ACCEPTANCE},
    )

    def read(self, post: Post) -> Reading:
        take = partial(
            call_of, gateway=post.gateway, window=Window.of(post.gateway, post.now), now=post.now
        )
        return Reading(*judge(read_in(post), take))

    def answer(self, post: Post, reading: Reading, delivery: UUID) -> Answer:
        said = answer_of(delivery, reading.calls, list(reading.rejected))
        return Answer(status_of(reading.calls, reading.rejected), said)


class OpenMeter(CloudEvents):
    """As OpenMeter's clients post events: 204, or a problem (RFC 9457)."""

    documented = Documented(
        name="post_openmeter_events",
        summary="Post events with OpenMeter's clients",
        description=(
            "As `/v1/events`, answered as OpenMeter's clients expect it. 400 if anything was not "
            "taken: `rejected` says what, and all else is kept."
        ),
        tag="CloudEvents",
        request=FORMATS,
        answers={204: None} | {(status, PROBLEM_TYPE): PROBLEM for status in Documented.errors},
        errors=(),
    )

    def answer(self, post: Post, reading: Reading, delivery: UUID) -> Answer:
        if not reading.rejected:
            return Answer(204)
        said = answer_of(delivery, reading.calls, list(reading.rejected))
        return _problem(Answer(400, said | why_nothing(reading.rejected)))

    def refuse(self, error: APIException, path: str) -> Answer:
        return _problem(super().refuse(error, path))


def _problem(answer: Answer) -> Answer:
    status = HTTPStatus(answer.status)
    said = {"title": status.phrase, "status": status.value, "detail": answer.body["message"]}
    return replace(answer, body=answer.body | said, content_type=PROBLEM_TYPE)
