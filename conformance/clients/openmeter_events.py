"""openmeter: one event, several, in either form, waiting or not."""

import asyncio
from datetime import UTC, datetime

from openmeter import Client
from openmeter.aio import Client as AsyncClient
from openmeter.models import Event
from telling import ADDRESS, KEY, TOKEN, call, new_id

client = Client(endpoint=ADDRESS, token=TOKEN)


def event(name: str, **said: object) -> Event:
    return Event(
        id=name,
        source="openmeter-python",
        specversion="1.0",
        type="prompt",
        subject=KEY,
        time=datetime.now(UTC),
        **said,
    )


def mark(name: str) -> dict[str, str]:
    return {"transaction_id": f"openmeter-python/{name}"}


name = new_id()
with call("events.ingest_event", mark(name), elements={"tokens": 12}):
    client.events.ingest_event(event(name, data={"tokens": "12", "model": "small"}))

name = new_id()
with call("events.ingest_event, without data", mark(name), elements={"calls": 1}):
    client.events.ingest_event(event(name))

several = [new_id(), new_id()]
events = [event(each, data={"tokens": number}) for number, each in enumerate(several)]
with call("events.ingest_events, first", mark(several[0]), elements={"tokens": 0}):
    client.events.ingest_events(events)
with call("events.ingest_events, second and sent again", mark(several[1]), elements={"tokens": 1}):
    client.events.ingest_events(events)

name = new_id()
with call("events.ingest_events_json", mark(name), elements={"seconds": 0.5}):
    client.events.ingest_events_json(event(name, data={"seconds": 0.5}))


async def ingest(name: str) -> None:
    async with AsyncClient(endpoint=ADDRESS, token=TOKEN) as client:
        await client.events.ingest_event(event(name, data={"tokens": 3}))


name = new_id()
with call("aio: events.ingest_event", mark(name), elements={"tokens": 3}):
    asyncio.run(ingest(name))
