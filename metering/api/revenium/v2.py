"""Revenium's metering API v2: the base of its doors, and product events."""

from abc import ABC
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from metering.api.backlog import backlog
from metering.api.dialects import Answer, GatewayPost, ParsedBody
from metering.api.documentation import DoorDocumentation
from metering.api.quantities import is_long_id
from metering.api.revenium import fields, metadata
from metering.api.revenium.dialect import (
    JsonFields,
    ReveniumBody,
    ReveniumDialect,
    key_fields_of,
    occurrence_fields,
    transaction_id_or_new,
)
from metering.api.revenium.elements import split_elements
from metering.api.revenium.fields import TextValue
from metering.api.revenium.records import (
    ERROR_RECORD_SCHEMA,
    ERROR_STATUSES,
    MeteringRecord,
    metering_record,
)
from metering.api.revenium.repeats import first_moment
from metering.inbox.calls import ONE_CALL, Call, SingleCallRow, call_without_secrets
from metering.inbox.intake import Steps, accept_single_call
from revcred.api.schema import json_schema_of

V2_TAG = "Revenium: metering v2"

Item = TypeVar("Item", bound=msgspec.Struct)


def v2_documentation(
    name: str, summary: str, item: type[msgspec.Struct], *, description: str = ""
) -> DoorDocumentation:
    """Return the OpenAPI documentation of a door of v2."""
    return DoorDocumentation(
        name=f"revenium_v2_{name}",
        summary=summary,
        description=description,
        tag=V2_TAG,
        request={"application/json": json_schema_of(item)},
        answers={201: json_schema_of(MeteringRecord)},
        errors=ERROR_STATUSES,
        error=ERROR_RECORD_SCHEMA,
    )


class V2Dialect(ReveniumDialect[Item], ABC):
    """A dialect that answers with the record of the call, and a repeat with that of the first."""

    def commit_calls(self, post: GatewayPost, reading: ParsedBody) -> Steps[UUID]:
        (call,) = reading.calls
        # A call with a moment of its own has the same one in a repeat. Only for one without has the
        # database to be asked when it first came.
        if reading.side or not call.undated:
            return (yield from super().commit_calls(post, reading))
        row: SingleCallRow = yield partial(
            accept_single_call, post.gateway, call, withheld=post.withheld
        )
        backlog.add(post.gateway.pk, 1)
        reading.first_at = row.first_at
        return row.id

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        (call,) = reading.calls
        created = first_moment(post.gateway, call, reading.first_at)
        # The answer is stored under an idempotency key: an id that holds the caller's key must not
        # get into the database by that way.
        safe_id = call_without_secrets(call, post.withheld).transaction_id
        return Answer(201, metering_record(post.gateway, safe_id, created))


class ProductEvent(ReveniumBody):
    """An event of a product, whose payload has any names and numbers."""

    transaction_id: TextValue = None
    payload: dict[str, Any] | None = None
    source_type: TextValue = None
    source_id: TextValue = None
    subscriber_credential: TextValue = None


class ProductEventsDialect(V2Dialect[ProductEvent]):
    """POST /meter/v2/events"""

    item = ProductEvent
    documented = v2_documentation("events", "A product's event", ProductEvent)

    def call_of(self, item: ProductEvent, data: JsonFields, post: GatewayPost) -> Call:
        payload = data.get("payload") or {}
        ids = {name: value for name, value in payload.items() if is_long_id(value)}
        elements, texts = split_elements(pair for pair in payload.items() if pair[0] not in ids)
        return Call(
            transaction_id=transaction_id_or_new("transactionId", item.transaction_id, post),
            source_named=fields.parse_text("sourceId", item.source_id),
            elements=elements or ONE_CALL,
            metadata=metadata.kept_metadata(
                ids | texts | metadata.kept_metadata(data, ["sourceType"])
            )
            or None,
            **key_fields_of("subscriberCredential", item.subscriber_credential),
            **occurrence_fields(None, post),
        )
