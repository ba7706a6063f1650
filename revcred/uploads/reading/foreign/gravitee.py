"""Gravitee: subscriptions with their API keys.

https://documentation.gravitee.io/apim (management API, subscriptions of an API or application)
"""

from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    join_texts,
    object_value,
    objects_in,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

GRAVITEE_HEADER = [
    *("customer", "name", "key", "plan", "holders", "state", "expires_at", "key_active_from"),
]


def _is_subscription(item: Any) -> bool:
    return isinstance(item, dict) and {"plan", "application", "status"} <= item.keys()


def _rows_of_subscription(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    application, api = object_value(item["application"]), object_value(item.get("api"))
    owner = object_value(application.get("primaryOwner"))
    app_name = first_text(application.get("name"), application.get("id"))
    api_name = first_text(api.get("name"), api.get("id"))
    plan = object_value(item["plan"])
    keys = objects_in(item.get("keys")) or [object_value(item.get("key"))]
    for key in keys:
        # A key is over if its subscription is.
        flags = [name for name in ("revoked", "expired", "paused") if key.get(name) is True]
        yield [
            first_text(owner.get("displayName"), owner.get("email"), app_name),
            f"{app_name} ({api_name})" if api_name else app_name,
            text_value(key.get("key")),
            # Each API has plans of its own, which may have equal names.
            " ".join(filter(None, (api_name, first_text(plan.get("name"), plan.get("id"))))),
            text_value(owner.get("email")),
            join_texts([item["status"], *flags]),
            first_text(
                *(key.get("expire_at"), key.get("expireAt")),
                *(item.get("ending_at"), item.get("endingAt")),
            ),
            first_text(*(key.get("created_at"), key.get("createdAt"), item.get("starting_at"))),
        ]


GRAVITEE_EXPORT = ExportFormat(
    "Gravitee subscriptions", GRAVITEE_HEADER, _is_subscription, _rows_of_subscription
)
