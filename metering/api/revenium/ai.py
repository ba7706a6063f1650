"""Metering API v2: what models were asked, and what they made."""

from typing import Any, ClassVar

from metering.api.doors import Post
from metering.api.revenium import fields, labels
from metering.api.revenium.dialect import Body, Said, dated, id_of, marks_of
from metering.api.revenium.elements import amounts
from metering.api.revenium.fields import Moment, Number, Text
from metering.api.revenium.naming import names_of, subscription_or_label
from metering.api.revenium.v2 import V2, documented
from metering.inbox.calls import ONE_CALL, Call


class Credential(Body):
    name: Text = None
    value: Text = None


class Subscriber(Body):
    id: Text = None
    email: Text = None
    credential: Credential | None = None


class AiCall(Body):
    transaction_id: Text = None
    request_time: Moment = None
    request_duration: Number = None
    model: Any = None
    provider: Any = None
    subscriber: Subscriber | None = None
    subscriber_id: Text = None
    subscriber_email: Text = None
    credential_alias: Text = None
    organization_name: Text = None
    organization_id: Text = None
    product_name: Text = None
    product_id: Text = None
    subscription_id: Text = None


COSTS = (
    "inputTokenCost",
    "outputTokenCost",
    "cacheCreationTokenCost",
    "cacheReadTokenCost",
    "totalCost",
)


class Ai(V2[AiCall]):
    """Counts the call, what it used and what that cost; never keeps a prompt."""

    item = AiCall
    amounts: ClassVar[tuple[str, ...]]

    def call_of(self, item: AiCall, said: Said, post: Post) -> Call:
        subscriber = item.subscriber or Subscriber()
        credential = subscriber.credential or Credential()
        names = names_of(
            customer=item.organization_name or item.organization_id,
            product=item.product_name or item.product_id,
            subscriber=subscriber.email
            or item.subscriber_email
            or subscriber.id
            or item.subscriber_id,
            credential=credential.name or item.credential_alias,
        )
        subscription, label = subscription_or_label(
            fields.text("subscriptionId", item.subscription_id), names=names, key=credential.value
        )
        listed = labels.OF_AI | ({"subscriptionId"} if label else set())
        kept = labels.kept(said, listed, post.gateway.kept_attributes)
        return Call(
            transaction_id=id_of("transactionId", item.transaction_id, post),
            subscription_named=subscription,
            latency_ms=fields.decimal("requestDuration", item.request_duration),
            elements=ONE_CALL | amounts(said, (*self.amounts, *COSTS)),
            metadata=kept or None,
            names=names,
            **marks_of("subscriber.credential.value", credential.value),
            **dated(fields.moment("requestTime", item.request_time), post),
        )


class Completions(Ai):
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
    documented = documented("ai_completions", "A model's answer", AiCall)


class Images(Ai):
    amounts = ("requestedImageCount", "actualImageCount")
    documented = documented("ai_images", "Images a model made", AiCall)


class Audio(Ai):
    amounts = (
        "durationSeconds",
        "characterCount",
        "inputAudioTokenCount",
        "outputAudioTokenCount",
        "inputTokenCount",
        "outputTokenCount",
        "totalTokenCount",
    )
    documented = documented("ai_audio", "Audio a model made or heard", AiCall)


class Video(Ai):
    amounts = ("durationSeconds", "requestedDurationSeconds", "creditsConsumed")
    documented = documented("ai_video", "Video a model made", AiCall)
