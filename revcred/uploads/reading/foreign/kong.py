"""Kong: consumers and their credentials as decK dumps them.

A consumer's `custom_id` is its name in another system and becomes the customer; without one the
user name does.
"""

from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    join_texts,
    list_value,
    numbered_name,
    objects_in,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError


def _is_consumer(consumer: Any) -> bool:
    return isinstance(consumer, dict) and ("username" in consumer or "custom_id" in consumer)


def _rows_of_consumer(consumer: dict[str, Any]) -> Iterator[RowCells | RowError]:
    name = text_value(consumer.get("username") or consumer.get("custom_id"))
    customer = text_value(consumer.get("custom_id") or consumer.get("username"))
    keys = objects_in(consumer.get("keyauth_credentials"))
    clients = objects_in(consumer.get("oauth2_credentials"))
    tags = list_value(consumer.get("tags"))
    for number, each in enumerate([*keys, *clients], start=1):
        yield [
            customer,
            text_value(each.get("name"))
            or numbered_name(name, number, of=len(keys) + len(clients)),
            text_value(each.get("key") or each.get("client_id")),
            # A hashed secret cannot be shown to anybody.
            "" if each.get("hash_secret") == "true" else text_value(each.get("client_secret")),
            join_texts([*tags, *list_value(each.get("tags"))]),
        ]


KONG_EXPORT = ExportFormat(
    "Kong decK", ["customer", "name", "key", "secret", "tags"], _is_consumer, _rows_of_consumer
)
