"""3scale: the listing of applications, each with a user key or with an id and a secret.

https://docs.redhat.com/en/documentation/red_hat_3scale_api_management (Account Management API)
"""

from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    list_value,
    object_value,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

THREESCALE_HEADER = ["customer", "name", "key", "secret", "plan", "state", "key_active_from"]
KEY_FIELDS = ("user_key", "client_id", "application_id")


def _application_in(listed: Any) -> dict[str, Any]:
    return object_value(object_value(listed).get("application", listed))


def _is_application(listed: Any) -> bool:
    application = _application_in(listed)
    return {"account_id", "plan_id"} <= application.keys() and any(
        each in application for each in KEY_FIELDS
    )


def _rows_of_application(listed: dict[str, Any]) -> Iterator[RowCells | RowError]:
    application = _application_in(listed)
    yield [
        text_value(application["account_id"]),
        first_text(application.get("name"), application.get("id")),
        first_text(*(application.get(each) for each in KEY_FIELDS)),
        # An application id goes with one of several keys.
        first_text(application.get("client_secret"), *list_value(application.get("keys"))),
        first_text(object_value(application.get("plan")).get("name"), application["plan_id"]),
        text_value(application.get("state")),
        text_value(application.get("created_at")),
    ]


def _left_out_of_application(listed: dict[str, Any]) -> Iterator[str]:
    keys = list_value(_application_in(listed).get("keys"))
    yield from ["second and further application keys"] * max(len(keys) - 1, 0)


THREESCALE_EXPORT = ExportFormat(
    "3scale applications",
    THREESCALE_HEADER,
    _is_application,
    _rows_of_application,
    left_out=_left_out_of_application,
)
