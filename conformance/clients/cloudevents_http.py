"""cloudevents: structured, binary and in a batch; naming a key or a subscription."""

from datetime import UTC, datetime
from typing import Any

import requests
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from telling import ADDRESS, KEY, SAID, SUBSCRIPTION, TOKEN, call, new_id

SOURCE = "https://shop.example.com/checkout"


def event(name: str, data: Any = None, subject: str = KEY, **attributes: Any) -> CloudEvent:
    said = {
        "id": name,
        "source": SOURCE,
        "type": "com.example.call",
        "subject": subject,
        "time": datetime.now(UTC),
        "datacontenttype": "application/json",
    }
    return CloudEvent({**said, **attributes}, data)


def post(message: HTTPMessage, token: str = TOKEN) -> None:
    answer = requests.post(
        f"{ADDRESS}/v1/events",
        data=message.body,
        headers={**message.headers, "authorization": f"Bearer {token}"},
        timeout=10,
    )
    answer.raise_for_status()
    assert answer.json()["accepted"] > 0, answer.text


def mark(name: str) -> dict[str, str]:
    return {"transaction_id": f"{SOURCE}/{name}"}


name = new_id()
with call("to_structured_event", mark(name), elements={"tokens": 5}):
    post(to_structured_event(event(name, {"tokens": 5})))

name = new_id()
with call("to_binary_event", mark(name), elements={"tokens": 6}):
    post(to_binary_event(event(name, {"tokens": 6})))

name = new_id()
with call("to_binary_event, with an extension", mark(name), elements={"calls": 1}):
    post(to_binary_event(event(name, {"plan": "gold"}, comexampletenant="a b")))

several = [new_id(), new_id()]
messages = [to_structured_event(event(each, {"tokens": 7})).body.decode() for each in several]
batch = HTTPMessage(
    {"content-type": "application/cloudevents-batch+json"}, f"[{','.join(messages)}]".encode()
)
for place, name in zip(("first", "second and sent again"), several, strict=True):
    with call(f"a batch, {place}", mark(name), elements={"tokens": 7}):
        post(batch)

name = new_id()
with call(
    "subject names the subscription", mark(name), elements={"calls": 1}, matched_by="subscription"
):
    post(to_structured_event(event(name, subject=SUBSCRIPTION)), SAID["token_of_subscriptions"])
