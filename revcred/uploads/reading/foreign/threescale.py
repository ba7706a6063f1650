"""3scale: the listing of applications, with a user key or with an id and perhaps a secret."""

from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.shapes import Shape, text
from revcred.uploads.reading.lists import Cells, RowError

HEADER = ["customer", "name", "key", "secret", "subscription"]
KEYS = ("user_key", "client_id", "application_id")


def _application(listed: Any) -> dict[str, Any]:
    inner = listed.get("application", listed) if isinstance(listed, dict) else {}
    return inner if isinstance(inner, dict) else {}


def _fits(listed: Any) -> bool:
    application = _application(listed)
    return {"account_id", "plan_id"} <= application.keys() and any(
        each in application for each in KEYS
    )


def _rows(listed: dict[str, Any]) -> Iterator[Cells | RowError]:
    application = _application(listed)
    state = text(application.get("state"))
    if state != "live":
        yield RowError("", f"It is {state} at 3scale.")
        return
    yield [
        text(application["account_id"]),
        text(application.get("name")) or text(application.get("id")),
        next((text(application[each]) for each in KEYS if application.get(each)), ""),
        text(application.get("client_secret")),
        text(application["plan_id"]),
    ]


SHAPE = Shape("3scale applications", HEADER, _fits, _rows)
