"""Unkey: keys of an API, decrypted.

https://www.unkey.com/docs/api-reference (apis.listKeys with decrypt)
"""

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext_noop

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    join_texts,
    list_value,
    object_value,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

UNKEY_HEADER = ["customer", "name", "key", "tags", "state", "expires_at", "key_active_from"]


def _is_key(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and ("keyId" in item or "apiId" in item)
        and ("start" in item or "plaintext" in item)
    )


def _rows_of_key(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    if not item.get("plaintext"):
        yield RowError(
            "key",
            gettext_noop("Only the start of the key is here. List the keys with decrypt=true."),
        )
        return
    identity = object_value(item.get("identity"))
    number = first_text(item.get("keyId"), item.get("id"))
    yield [
        first_text(identity.get("externalId"), item.get("ownerId"), item.get("externalId")),
        first_text(item.get("name"), number),
        text_value(item["plaintext"]),
        join_texts(list_value(item.get("roles"))),
        text_value(item.get("enabled")),
        text_value(item.get("expires")),  # milliseconds
        text_value(item.get("createdAt")),
    ]


UNKEY_EXPORT = ExportFormat("Unkey", UNKEY_HEADER, _is_key, _rows_of_key)
