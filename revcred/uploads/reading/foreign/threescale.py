"""3scale: the listing of applications, each with a user key or with an id and a secret."""

from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.export_format import ExportFormat, text_value
from revcred.uploads.reading.list_reader import RowCells, RowError

THREESCALE_HEADER = ["customer", "name", "key", "secret", "subscription"]
KEY_FIELDS = ("user_key", "client_id", "application_id")


def _application_in(listed: Any) -> dict[str, Any]:
    inner = listed.get("application", listed) if isinstance(listed, dict) else {}
    return inner if isinstance(inner, dict) else {}


def _is_application(listed: Any) -> bool:
    application = _application_in(listed)
    return {"account_id", "plan_id"} <= application.keys() and any(
        each in application for each in KEY_FIELDS
    )


def _rows_of_application(listed: dict[str, Any]) -> Iterator[RowCells | RowError]:
    application = _application_in(listed)
    state = text_value(application.get("state"))
    # Suspended and pending applications cannot call, so their keys must not begin to count.
    if state != "live":
        yield RowError("", f"It is {state} at 3scale.")
        return
    yield [
        text_value(application["account_id"]),
        text_value(application.get("name")) or text_value(application.get("id")),
        next((text_value(application[each]) for each in KEY_FIELDS if application.get(each)), ""),
        text_value(application.get("client_secret")),
        text_value(application["plan_id"]),
    ]


THREESCALE_EXPORT = ExportFormat(
    "3scale applications", THREESCALE_HEADER, _is_application, _rows_of_application
)
