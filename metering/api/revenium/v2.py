"""Metering API v2: what its doors share, and product events."""

from abc import ABC
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from metering.api.backlog import backlog
from metering.api.documentation import Documented, schema_of
from metering.api.doors import Answer, Post, Reading
from metering.api.revenium import fields, metadata
from metering.api.revenium.dialect import Body, ReveniumDialect, Said, dated, id_of, marks_of
from metering.api.revenium.elements import counted
from metering.api.revenium.fields import Text
from metering.api.revenium.records import ERROR, ERRORS, RECORD, record
from metering.api.revenium.repeats import first_moment
from metering.inbox.calls import ONE_CALL, Call, without_secrets
from metering.inbox.intake import take_in_one

TAG = "Revenium: metering v2"

Item = TypeVar("Item", bound=msgspec.Struct)


def documented(
    name: str, summary: str, item: type[msgspec.Struct], *, description: str = ""
) -> Documented:
    return Documented(
        name=f"revenium_v2_{name}",
        summary=summary,
        description=description,
        tag=TAG,
        request={"application/json": schema_of(item)},
        answers={201: RECORD},
        errors=ERRORS,
        error=ERROR,
    )


class V2(ReveniumDialect[Item], ABC):
    """Answers the record of the call, and a repeat with the record of the first."""

    def keep(self, post: Post, reading: Reading) -> UUID:
        (call,) = reading.calls
        if reading.side or not call.undated:  # what says when it was says so again in a repeat
            return super().keep(post, reading)
        kept = take_in_one(post.gateway, call, withheld=post.withheld)
        backlog.add(post.gateway.pk, 1)
        reading.first_at = kept.first_at
        return kept.id

    def answer(self, post: Post, reading: Reading, delivery: UUID) -> Answer:
        (call,) = reading.calls
        created = first_moment(post.gateway, call, reading.first_at)
        # The answer may be kept, so that it names the call as it is kept.
        shown = without_secrets(call, post.withheld).transaction_id
        return Answer(201, record(post.gateway, shown, created))


class Event(Body):
    """A product's event: any names and numbers."""

    transaction_id: Text = None
    payload: dict[str, Any] | None = None
    source_type: Text = None
    source_id: Text = None
    subscriber_credential: Text = None


class Events(V2[Event]):
    """POST /meter/v2/events"""

    item = Event
    documented = documented("events", "A product's event", Event)

    def call_of(self, item: Event, said: Said, post: Post) -> Call:
        elements, texts = counted((said.get("payload") or {}).items())
        return Call(
            transaction_id=id_of("transactionId", item.transaction_id, post),
            source_named=fields.text("sourceId", item.source_id),
            elements=elements or ONE_CALL,
            metadata=metadata.kept(texts | metadata.kept(said, ["sourceType"])) or None,
            **marks_of("subscriberCredential", item.subscriber_credential),
            **dated(None, post),
        )
