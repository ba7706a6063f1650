"""Azure API Management: subscriptions with their two keys.

https://learn.microsoft.com/rest/api/apimanagement/subscription (list, and listSecrets of each)
"""

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext_noop

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    object_value,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

AZURE_HEADER = [
    *("customer", "name", "key", "aliases", "plan", "state", "expires_at", "key_active_from"),
]


def _is_subscription(item: Any) -> bool:
    about = _about(item)
    return "scope" in about and bool({"primaryKey", "ownerId", "secondaryKey"} & about.keys())


def _about(item: Any) -> dict[str, Any]:
    item = object_value(item)
    return object_value(item.get("properties", item))


def _rows_of_subscription(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    about = _about(item)
    name = first_text(about.get("displayName"), item.get("name"), item.get("id"))
    if not about.get("primaryKey"):
        yield RowError(
            "key", gettext_noop("The keys are not in the export. Add them with listSecrets.")
        )
        return
    yield [
        first_text(_last_part(about.get("ownerId")), item.get("name")),
        name,
        text_value(about["primaryKey"]),
        text_value(about.get("secondaryKey")),
        _product_in(text_value(about.get("scope"))),
        text_value(about.get("state")),
        first_text(about.get("expirationDate"), about.get("endDate")),
        first_text(about.get("startDate"), about.get("createdDate")),
    ]


def _last_part(path: Any) -> str:
    return text_value(path).rstrip("/").rpartition("/")[2]


def _product_in(scope: str) -> str:
    """Return the product or API of the scope; "" for a subscription to everything."""
    parts = scope.rstrip("/").split("/")
    return parts[-1] if len(parts) > 1 and parts[-2] in {"products", "apis"} else ""


AZURE_EXPORT = ExportFormat(
    "Azure API Management", AZURE_HEADER, _is_subscription, _rows_of_subscription
)
