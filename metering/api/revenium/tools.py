"""Metering API v2: calls of tools."""

from typing import Any

from metering.api.doors import Post
from metering.api.revenium import fields, labels, metadata
from metering.api.revenium.dialect import Body, Said, dated, id_of, marks_of
from metering.api.revenium.elements import amounts
from metering.api.revenium.fields import Moment, Number, Text
from metering.api.revenium.naming import names_of
from metering.api.revenium.v2 import V2, documented
from metering.inbox.calls import ONE_CALL, Call, digest_of


class ToolCall(Body):
    transaction_id: Text = None
    tool_id: Any = None
    timestamp: Moment = None
    duration_ms: Number = None
    cost_usd: Number = None
    subscriber_credential: Text = None
    organization_name: Text = None
    product_name: Text = None


class ToolEvents(V2[ToolCall]):
    """POST /meter/v2/tool/events

    `transactionId` is that of the model's answer that called the tool, and of all other tools that
    it called. A tool's call is told apart by the tool and its moment, too.
    """

    item = ToolCall
    documented = documented("tool_events", "A tool's call", ToolCall)

    def call_of(self, item: ToolCall, said: Said, post: Post) -> Call:
        kept = labels.kept(said, labels.OF_TOOLS, post.gateway.kept_attributes)
        if used := labels.numbers(said.get("usageMetadata")):
            kept = metadata.kept(kept | {"usageMetadata": used})
        return Call(
            transaction_id=id_of("transactionId", item.transaction_id, post),
            latency_ms=fields.decimal("durationMs", item.duration_ms),
            elements=ONE_CALL | amounts(said, ["costUsd"]),
            metadata=kept or None,
            distinguished_by=digest_of("tool", item.tool_id, item.timestamp),
            names=names_of(customer=item.organization_name, product=item.product_name),
            **marks_of("subscriberCredential", item.subscriber_credential),
            **dated(fields.moment("timestamp", item.timestamp), post),
        )
