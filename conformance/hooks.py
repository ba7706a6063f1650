"""What schemathesis cannot know from the document: moments that may be sent, and bytes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st

NOW = datetime.now(UTC)
moments = st.datetimes(
    min_value=(NOW - timedelta(days=30)).replace(tzinfo=None),
    max_value=NOW.replace(tzinfo=None),
    timezones=st.just(UTC),
)
schemathesis.openapi.format("date-time", moments.map(datetime.isoformat))


def as_it_is(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


# Bodies that are no JSON: bytes are sent as they are.
for kind in (
    "application/x-protobuf",
    "application/x-ndjson",
    "application/jsonl",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
):
    schemathesis.serializer(kind)(as_it_is)
