"""Revenium's metering API v2: requests to AI models for text, images, audio and video."""

from typing import Any, ClassVar

from metering.api.dialects import GatewayPost
from metering.api.revenium import fields, labels
from metering.api.revenium.dialect import (
    JsonFields,
    ReveniumBody,
    key_fields_of,
    occurrence_fields,
    transaction_id_or_new,
)
from metering.api.revenium.elements import read_amounts
from metering.api.revenium.fields import MomentValue, NumberFact, TextValue
from metering.api.revenium.naming import owner_names, subscription_or_label
from metering.api.revenium.v2 import V2Dialect, v2_documentation
from metering.inbox.calls import ONE_CALL, Call


class AiCredential(ReveniumBody):
    """The credential of a subscriber; its `value` is the key."""

    name: TextValue = None
    value: TextValue = None


class AiSubscriber(ReveniumBody):
    """The subscriber, as newer clients send it. Older ones send the same in fields of the call."""

    id: TextValue = None
    email: TextValue = None
    credential: AiCredential | None = None


class AiCall(ReveniumBody):
    """A request to a model. Amounts and labels are read from the body by name."""

    transaction_id: TextValue = None
    request_time: MomentValue = None
    request_duration: NumberFact = None
    model: Any = None
    provider: Any = None
    subscriber: AiSubscriber | None = None
    subscriber_id: TextValue = None
    subscriber_email: TextValue = None
    credential_alias: TextValue = None
    organization_name: TextValue = None
    organization_id: TextValue = None
    product_name: TextValue = None
    product_id: TextValue = None
    subscription_id: TextValue = None


COST_FIELDS = (
    "inputTokenCost",
    "outputTokenCost",
    "cacheCreationTokenCost",
    "cacheReadTokenCost",
    "totalCost",
)


class AiDialect(V2Dialect[AiCall]):
    """A dialect that counts the call, its tokens or other amounts, and its costs.

    Prompts and answers are never stored: only listed labels are kept.
    """

    item = AiCall
    keeps_labels_only = True
    amounts: ClassVar[tuple[str, ...]]

    def call_of(self, item: AiCall, data: JsonFields, post: GatewayPost) -> Call:
        # Names before ids and newer fields before older ones: where a client sends several, an
        # admin is most likely to have entered the first.
        subscriber = item.subscriber or AiSubscriber()
        credential = subscriber.credential or AiCredential()
        names = owner_names(
            customer=item.organization_name or item.organization_id,
            product=item.product_name or item.product_id,
            subscriber=subscriber.email
            or item.subscriber_email
            or subscriber.id
            or item.subscriber_id,
            credential=credential.name or item.credential_alias,
        )
        subscription, label = subscription_or_label(
            fields.parse_text("subscriptionId", item.subscription_id),
            names=names,
            key=credential.value,
        )
        # A plan's name in the place of a subscription is kept as a label.
        listed = labels.AI_LABELS | ({"subscriptionId"} if label else set())
        kept = labels.kept_labels(data, listed, post.gateway.kept_attributes)
        return Call(
            transaction_id=transaction_id_or_new("transactionId", item.transaction_id, post),
            subscription_named=subscription,
            latency_ms=fields.parse_latency("requestDuration", item.request_duration),
            elements=ONE_CALL | read_amounts(data, (*self.amounts, *COST_FIELDS)),
            metadata=kept or None,
            names=names,
            **key_fields_of("subscriber.credential.value", credential.value),
            **occurrence_fields(fields.parse_moment("requestTime", item.request_time), post),
        )


class AiCompletionsDialect(AiDialect):
    amounts = (
        "inputTokenCount",
        "outputTokenCount",
        "totalTokenCount",
        "reasoningTokenCount",
        "cacheCreationTokenCount",
        "cacheCreation5mTokenCount",
        "cacheCreation1hTokenCount",
        "cacheReadTokenCount",
    )
    documented = v2_documentation("ai_completions", "A model's answer", AiCall)


class AiImagesDialect(AiDialect):
    amounts = ("requestedImageCount", "actualImageCount")
    documented = v2_documentation("ai_images", "Images that a model made", AiCall)


class AiAudioDialect(AiDialect):
    amounts = (
        "durationSeconds",
        "characterCount",
        "inputAudioTokenCount",
        "outputAudioTokenCount",
        "inputTokenCount",
        "outputTokenCount",
        "totalTokenCount",
    )
    documented = v2_documentation("ai_audio", "Audio that a model made or heard", AiCall)


class AiVideoDialect(AiDialect):
    amounts = ("durationSeconds", "requestedDurationSeconds", "creditsConsumed")
    documented = v2_documentation("ai_video", "Video that a model made", AiCall)
