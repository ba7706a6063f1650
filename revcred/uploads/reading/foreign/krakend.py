"""KrakenD: the API keys of its configuration, which has all users of the gateway.

https://www.krakend.io/docs/enterprise/authentication/api-keys/
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
    objects_in,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

KRAKEND_HEADER = ["name", "key", "tags"]
NAMESPACE = "auth/api-keys"
BLOCK_FIELDS = frozenset({"strategy", "identifier", "hash", "salt", "propagate_role"})


def _block_of(item: Any) -> dict[str, Any]:
    """Return the block of keys: of a whole configuration, or the item itself."""
    item = object_value(item)
    return object_value(object_value(item.get("extra_config")).get(NAMESPACE, item))


def _is_configuration(item: Any) -> bool:
    block = _block_of(item)
    return any("key" in each for each in objects_in(block.get("keys"))) and (
        block is not item or bool(BLOCK_FIELDS & block.keys())
    )


def _rows_of_configuration(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    block = _block_of(item)
    is_hashed = first_text(block.get("hash"), "plain") != "plain"
    for each in objects_in(block["keys"]):
        key = text_value(each.get("key"))
        if is_hashed:
            yield RowError("key", gettext_noop("Only a hash of the key is in the export."))
            continue
        yield [
            first_text(
                *(each.get("@description"), each.get("description"), each.get("name")),
                f"KrakenD key …{key[-4:]}",
            ),
            key,
            join_texts(list_value(each.get("roles"))),
        ]


KRAKEND_EXPORT = ExportFormat("KrakenD", KRAKEND_HEADER, _is_configuration, _rows_of_configuration)
