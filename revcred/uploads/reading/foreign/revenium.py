"""Revenium: subscriber credentials as its API lists them.

https://revenium.readme.io (Profitstream API, credentials)
"""

from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    join_texts,
    list_value,
    object_value,
    objects_in,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

REVENIUM_HEADER = ["customer", "name", "key", "secret", "subscription", "holders", "tags"]


def _is_credential(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and "externalId" in item
        and bool({"organization", "organizationId"} & item.keys())
        and bool({"subscriber", "subscriberId", "externalSecret", "subscriptions"} & item.keys())
    )


def _rows_of_credential(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    organization = object_value(item.get("organization"))
    subscriber = object_value(item.get("subscriber"))
    subscriptions = [*objects_in(item.get("subscriptions")), object_value(item.get("subscription"))]
    email = first_text(
        subscriber.get("email"), item.get("subscriberEmail"), subscriber.get("label")
    )
    yield [
        first_text(
            *(organization.get(each) for each in ("externalId", "name", "label", "id")),
            item.get("organizationId"),
        ),
        first_text(item.get("name"), item.get("label")),
        text_value(item["externalId"]),
        text_value(item.get("externalSecret")),
        join_texts(
            first_text(*(each.get(name) for name in ("externalId", "name", "label", "id")))
            for each in subscriptions
        ),
        email if "@" in email else "",
        join_texts(list_value(item.get("tags"))),
    ]


REVENIUM_EXPORT = ExportFormat(
    "Revenium credentials", REVENIUM_HEADER, _is_credential, _rows_of_credential
)
