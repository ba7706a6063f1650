"""revenium-metering: events, calls of APIs in two halves, models."""

from revenium_metering import ReveniumMetering
from telling import ADDRESS, KEY, TOKEN, call, new_id, now

client = ReveniumMetering(api_key=TOKEN, base_url=ADDRESS)

for payload in ({"requests": 1, "tokens": "42"}, {"gigabytes": 0.25}):
    name = new_id()
    elements = {metric: float(value) for metric, value in payload.items()}
    with call("events.create", {"transaction_id": name}, elements=elements):
        record = client.events.create(
            transaction_id=name,
            payload=payload,
            source_type="SDK_PYTHON",
            subscriber_credential=KEY,
        )
        assert (record.id, record.resource_type) == (name, "metering")

name = new_id()
with call("events.create, sent twice", {"transaction_id": name}, elements={"once": 1}):
    for _ in range(2):
        record = client.events.create(
            transaction_id=name,
            payload={"once": 1},
            source_type="SDK_PYTHON",
            subscriber_credential=KEY,
        )
        assert record.id == name


def meter_request(name: str) -> None:
    client.apis.meter_request(
        transaction_id=name,
        credential=KEY,
        method="GET",
        resource="/v1/orders",
        source_type="KONG",
        request_message_size=10,
    )


def meter_response(name: str) -> None:
    client.apis.meter_response(
        transaction_id=name,
        response_code=200,
        response_message_size=99,
        backend_latency=12.5,
        gateway_latency=1.5,
        total_duration=14,
    )


BOTH = {
    "elements": {"calls": 1},
    "method": "GET",
    "path": "/v1/orders",
    "status": 200,
    "request_bytes": 10,
    "response_bytes": 99,
}
name = new_id()
with call("apis.meter_request, meter_response", {"transaction_id": name}, **BOTH):
    meter_request(name)
    meter_response(name)

name = new_id()
with call("apis.meter_response, meter_request", {"transaction_id": name}, **BOTH):
    meter_response(name)
    meter_request(name)

SUBSCRIBER = {"id": "ada", "credential": {"name": "conformance", "value": KEY}}

name = new_id()
with call(
    "ai.create_completion",
    {"transaction_id": name},
    elements={
        "calls": 1,
        "inputTokenCount": 50,
        "outputTokenCount": 150,
        "totalTokenCount": 200,
        "totalCost": 0.25,
    },
):
    client.ai.create_completion(
        transaction_id=name,
        cost_type="AI",
        is_streamed=False,
        model="small",
        provider="OpenAI",
        stop_reason="END",
        request_time=now(),
        completion_start_time=now(),
        response_time=now(),
        request_duration=1000,
        input_token_count=50,
        output_token_count=150,
        total_token_count=200,
        total_cost=0.25,
        subscriber=SUBSCRIBER,
    )

name = new_id()
with call(
    "ai.create_image",
    {"transaction_id": name},
    elements={"calls": 1, "requestedImageCount": 2, "actualImageCount": 1},
):
    client.ai.create_image(
        transaction_id=name,
        model="pictures",
        provider="OpenAI",
        request_time=now(),
        response_time=now(),
        request_duration=1,
        requested_image_count=2,
        actual_image_count=1,
        subscriber=SUBSCRIBER,
    )

name = new_id()
with call(
    "ai.create_audio",
    {"transaction_id": name},
    elements={"calls": 1, "durationSeconds": 2.5, "characterCount": 40},
):
    client.ai.create_audio(
        transaction_id=name,
        model="voices",
        provider="OpenAI",
        request_time=now(),
        response_time=now(),
        request_duration=1,
        duration_seconds=2.5,
        character_count=40,
        subscriber=SUBSCRIBER,
    )

name = new_id()
with call(
    "ai.create_video",
    {"transaction_id": name},
    elements={"calls": 1, "durationSeconds": 4, "creditsConsumed": 3},
):
    client.ai.create_video(
        transaction_id=name,
        model="films",
        provider="OpenAI",
        request_time=now(),
        response_time=now(),
        request_duration=1,
        duration_seconds=4,
        credits_consumed=3,
        subscriber=SUBSCRIBER,
    )
