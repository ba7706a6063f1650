"""What a client's script is told, and what it tells: a line of JSON for each call it made."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

SAID = json.loads(os.environ["CONFORMANCE"])
ADDRESS, TOKEN = SAID["address"], SAID["token"]
KEY, SUBSCRIPTION = SAID["key"], SAID["subscription"]


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def new_id() -> str:
    return str(uuid4())


@contextmanager
def call(name: str, mark: dict[str, Any] | None = None, **expected: Any) -> Iterator[None]:
    """One call of the client's. Its receipt is known by the `mark`, and says what is `expected`.

    Without a mark it is a question, which leaves no transaction.
    """
    error = ""
    try:
        yield
    except Exception as raised:  # noqa: BLE001 - whatever a client raises is the result
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps({"call": name, "mark": mark, "expected": expected, "error": error}))  # noqa: T201
