"""Revenium's metering API v2: calls of tools by models."""

from typing import Any

from metering.api.dialects import GatewayPost
from metering.api.revenium import fields, labels, metadata
from metering.api.revenium.dialect import (
    JsonFields,
    ReveniumBody,
    key_fields_of,
    occurrence_fields,
    transaction_id_or_new,
)
from metering.api.revenium.elements import read_amounts
from metering.api.revenium.fields import MomentValue, NumberFact, TextValue
from metering.api.revenium.naming import owner_names
from metering.api.revenium.v2 import V2Dialect, v2_documentation
from metering.inbox.calls import ONE_CALL, Call, digest_of_parts


class ToolCall(ReveniumBody):
    """A call of a tool. Other fields are labels: see `labels.TOOL_LABELS`."""

    transaction_id: TextValue = None
    tool_id: Any = None
    timestamp: MomentValue = None
    duration_ms: NumberFact = None
    cost_usd: NumberFact = None
    subscriber_credential: TextValue = None
    organization_name: TextValue = None
    product_name: TextValue = None


class ToolEventsDialect(V2Dialect[ToolCall]):
    """POST /meter/v2/tool/events

    `transactionId` is that of the model's answer, which may call several tools. Calls under one id
    are therefore also distinguished by tool and moment.
    """

    item = ToolCall
    keeps_labels_only = True
    documented = v2_documentation("tool_events", "A tool's call", ToolCall)

    def call_of(self, item: ToolCall, data: JsonFields, post: GatewayPost) -> Call:
        kept = labels.kept_labels(data, labels.TOOL_LABELS, post.gateway.kept_attributes)
        # Numbers of any name are harmless; texts of any name could be prompts.
        if used := labels.numeric_members(data.get("usageMetadata")):
            kept = metadata.kept_metadata(kept | {"usageMetadata": used})
        return Call(
            transaction_id=transaction_id_or_new("transactionId", item.transaction_id, post),
            latency_ms=fields.parse_latency("durationMs", item.duration_ms),
            elements=ONE_CALL | read_amounts(data, ["costUsd"]),
            metadata=kept or None,
            distinguished_by=digest_of_parts("tool", item.tool_id, item.timestamp),
            names=owner_names(customer=item.organization_name, product=item.product_name),
            **key_fields_of("subscriberCredential", item.subscriber_credential),
            **occurrence_fields(fields.parse_moment("timestamp", item.timestamp), post),
        )
