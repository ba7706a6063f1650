"""Kong: what decK dumps of consumers and their credentials.

A consumer's `custom_id` is what another system calls it: the customer, and else its user name.
"""

from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.shapes import Shape, joined, listed, numbered, text, things
from revcred.uploads.reading.lists import Cells, RowError


def _fits(consumer: Any) -> bool:
    return isinstance(consumer, dict) and ("username" in consumer or "custom_id" in consumer)


def _rows(consumer: dict[str, Any]) -> Iterator[Cells | RowError]:
    name = text(consumer.get("username") or consumer.get("custom_id"))
    customer = text(consumer.get("custom_id") or consumer.get("username"))
    keys = things(consumer.get("keyauth_credentials"))
    clients = things(consumer.get("oauth2_credentials"))
    tags = listed(consumer.get("tags"))
    for number, each in enumerate([*keys, *clients], start=1):
        yield [
            customer,
            text(each.get("name")) or numbered(name, number, of=len(keys) + len(clients)),
            text(each.get("key") or each.get("client_id")),
            # A hashed one is of no use to anybody.
            "" if each.get("hash_secret") == "true" else text(each.get("client_secret")),
            joined([*tags, *listed(each.get("tags"))]),
        ]


SHAPE = Shape("Kong decK", ["customer", "name", "key", "secret", "tags"], _fits, _rows)
