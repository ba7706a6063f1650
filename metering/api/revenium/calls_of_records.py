"""Calls made of the log records and spans of OTLP."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from metering.api.decoding import ItemRejected
from metering.api.dialects import GatewayPost
from metering.api.revenium import fields, labels
from metering.api.revenium.calls_in_logs import (
    KEY_ATTRIBUTES,
    SUBSCRIPTION_ATTRIBUTES,
    is_usage,
    usage_elements,
)
from metering.api.revenium.dialect import check_for_nul, key_fields_of
from metering.api.revenium.log_records import (
    ID_ATTRIBUTES,
    ParsedLogRecord,
    attribute_spellings,
)
from metering.api.revenium.naming import (
    known_subscriptions,
    owner_names,
    subscription_or_label,
)
from metering.api.revenium.record_facts import (
    CUSTOMER_ATTRIBUTES,
    DECIDING,
    PRODUCT_ATTRIBUTES,
    STORED_ATTRIBUTES,
    SUBSCRIBER_ATTRIBUTES,
    content_digest,
    moment_of_record,
    read_columns,
    response_digest,
    response_id_of,
)
from metering.api.transactions import AcceptanceWindow
from metering.inbox.calls import ONE_CALL, Call
from revcred.models import Gateway


@dataclass(frozen=True, kw_only=True)
class RecordCallMaker:
    """A maker of calls from the log records or spans of one POST."""

    gateway: Gateway
    now: datetime
    window: AcceptanceWindow
    subscriptions: Collection[str]  # known external keys among those that the records name
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def for_post(
        cls, post: GatewayPost, records: Iterable[ParsedLogRecord | ItemRejected]
    ) -> "RecordCallMaker":
        # One query for all records of the post instead of one for each.
        external_keys = {
            record.attribute(SUBSCRIPTION_ATTRIBUTES)
            for record in records
            if isinstance(record, ParsedLogRecord)
        }
        return cls(
            gateway=post.gateway,
            now=post.now,
            window=AcceptanceWindow.for_gateway(post.gateway, post.now),
            subscriptions=known_subscriptions([key for key in external_keys if key]),
        )

    def call_of(self, record: ParsedLogRecord) -> Call:
        """Return a record as a call in the inbox's terms, with its key in clear.

        Raises:
            ItemRejected: the moment is outside the window, or a decisive attribute is wrong.
        """
        self._check_once(record)
        occurred_at = moment_of_record(record, self.now)
        self.window.check(occurred_at, "timeUnixNano")
        key = record.attribute(KEY_ATTRIBUTES)
        names = owner_names(
            customer=record.configured_attribute(CUSTOMER_ATTRIBUTES),
            product=record.configured_attribute(PRODUCT_ATTRIBUTES),
            subscriber=record.attribute(SUBSCRIBER_ATTRIBUTES),
        )
        subscription, label = subscription_or_label(
            fields.parse_text("subscription.id", record.attribute(SUBSCRIPTION_ATTRIBUTES)),
            names=names,
            key=key,
            known=self.subscriptions,
        )
        elements = usage_elements(record, self.gateway.event_elements)
        columns, unreadable = read_columns(record)
        response = response_id_of(record)
        if response:
            content = response_digest(record, response, elements)
        else:
            content = content_digest(record)
        call = Call(
            transaction_id=self._id_of(record, content, response),
            occurred_at=occurred_at.astimezone(UTC),
            undated=not record.at,
            subscription_named=subscription,
            elements=ONE_CALL | elements,
            metadata=self._metadata(record, unreadable, elements, is_label=bool(label)),
            names=names,
            content=content,
            **columns,
            **key_fields_of(KEY_ATTRIBUTES[0], key),
        )
        check_for_nul(call)
        return call

    def _check_once(self, record: ParsedLogRecord) -> None:
        """See that nothing that decides stands in it twice. Raises ItemRejected."""
        for name in sorted(record.doubled):
            if name in DECIDING or name in self.gateway.event_elements or is_usage(name):
                raise ItemRejected(
                    name, "duplicate_field", "It is there twice, with different values."
                )

    def _id_of(self, record: ParsedLogRecord, content: str, response: str | None) -> str:
        """Return the record's own id, or one made of the model's response that it is about.

        Without either it is that of the span, or one made of the record's content and its number
        among equal ones. A batch that is sent again has its records in the same order, so that each
        gets the same id.
        """
        own_id = fields.parse_text(
            ID_ATTRIBUTES[0], record.transaction_id, max_characters=fields.MAX_ID_CHARACTERS
        )
        if own_id:
            return own_id
        if response:
            return f"response-{response}"
        if record.span_id:
            return f"span-{record.span_id}"
        self.counts[content] += 1
        count = self.counts[content]
        return f"log-{content}-{count}" if count > 1 else f"log-{content}"

    def _metadata(
        self,
        record: ParsedLogRecord,
        unreadable: Collection[str],
        elements: Collection[str],
        *,
        is_label: bool,
    ) -> dict[str, Any] | None:
        attributes = {**record.resource, **record.attributes}
        listed = {
            *labels.LOG_LABELS,
            *(attribute_spellings(SUBSCRIPTION_ATTRIBUTES) if is_label else ()),
            *unreadable,
        }
        added = set(self.gateway.kept_attributes) - STORED_ATTRIBUTES
        counted = set(elements)  # need not be stored twice
        return labels.kept_labels(attributes, listed - counted, added - counted) or None
