"""Auth0: clients of a tenant, of which machine-to-machine applications have credentials of callers.

https://auth0.com/docs/api/management/v2/clients/get-clients
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

AUTH0_HEADER = ["customer", "name", "key", "secret", "environment"]
OWNER_FIELDS = ("customer", "organization", "company", "account")  # in the client's metadata


def _is_client(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and "client_id" in item
        and bool({"app_type", "grant_types", "is_first_party"} & item.keys())
    )


def _is_machine(item: dict[str, Any]) -> bool:
    return not item.get("global") and (
        item.get("app_type") == "non_interactive"
        or "client_credentials" in list_value(item.get("grant_types"))
    )


def _rows_of_client(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    if _is_machine(item):
        about = object_value(item.get("client_metadata"))
        yield [
            first_text(*(about.get(each) for each in OWNER_FIELDS), item.get("tenant")),
            first_text(item.get("name"), item["client_id"]),
            text_value(item["client_id"]),
            text_value(item.get("client_secret")),
            first_text(about.get("environment"), about.get("env")),
        ]


def _left_out_of_client(item: dict[str, Any]) -> Iterator[str]:
    if not _is_machine(item):
        yield "clients of people, which are no machine-to-machine applications"


AUTH0_EXPORT = ExportFormat(
    "Auth0 clients", AUTH0_HEADER, _is_client, _rows_of_client, left_out=_left_out_of_client
)
