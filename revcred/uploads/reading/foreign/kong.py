"""Kong: consumers and their credentials as decK dumps them, and as `kong config db_export` does.

A consumer's `custom_id` is its name in another system and becomes the customer; without one the
user name does. https://developer.konghq.com/deck/
"""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from django.utils.translation import gettext_noop

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    join_texts,
    list_value,
    numbered_name,
    object_value,
    objects_in,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

KONG_HEADER = ["customer", "name", "key", "secret", "tags", "expires_in", "expires_at"]
KEY_TYPES = ("keyauth_credentials", "oauth2_credentials")
# What consumers have besides, and that revcred cannot take. In words, by Kong's names.
OTHER_TYPES: Mapping[str, str] = {
    "basicauth_credentials": "basic-auth credentials",
    "jwt_secrets": "JWT secrets",
    "hmacauth_credentials": "HMAC credentials",
    "mtls_auth_credentials": "mTLS credentials",
    "keyauth_enc_credentials": "encrypted key-auth credentials",
    "acls": "ACL groups",
}
CREDENTIAL_TYPES = (*KEY_TYPES, *OTHER_TYPES)
UNKNOWN_CONSUMER = "unknown_consumer"  # mark of a credential whose consumer is not in the file


def _is_consumer(consumer: Any) -> bool:
    return isinstance(consumer, dict) and (
        "username" in consumer or "custom_id" in consumer or UNKNOWN_CONSUMER in consumer
    )


def _rows_of_consumer(consumer: dict[str, Any]) -> Iterator[RowCells | RowError]:
    if UNKNOWN_CONSUMER in consumer:
        yield RowError(
            "customer", gettext_noop("The consumer of this credential is not in the file.")
        )
        return
    name = first_text(consumer.get("username"), consumer.get("custom_id"))
    customer = first_text(consumer.get("custom_id"), consumer.get("username"))
    keys, clients = (objects_in(consumer.get(each)) for each in KEY_TYPES)
    tags = list_value(consumer.get("tags"))
    for number, each in enumerate([*keys, *clients], start=1):
        created, ttl = text_value(each.get("created_at")), text_value(each.get("ttl"))
        is_dated = created.isdecimal() and ttl.isdecimal() and int(ttl) > 0
        yield [
            customer,
            text_value(each.get("name"))
            or numbered_name(name, number, of=len(keys) + len(clients)),
            first_text(each.get("key"), each.get("client_id")),
            # A hashed secret cannot be shown to anybody.
            ""
            if each.get("hash_secret") in {"true", True}
            else text_value(each.get("client_secret")),
            join_texts([*tags, *list_value(each.get("tags"))]),
            "" if is_dated else ttl,
            str(int(created) + int(ttl)) if is_dated else "",
        ]


def _left_out_of_consumer(consumer: dict[str, Any]) -> Iterator[str]:
    if UNKNOWN_CONSUMER in consumer:
        return
    for name, words in OTHER_TYPES.items():
        for _ in objects_in(consumer.get(name)):
            yield words
    if not any(objects_in(consumer.get(name)) for name in CREDENTIAL_TYPES):
        yield "consumers without credentials"


class DatabaseExport:
    """Joins the credentials of `kong config db_export`, which stand apart from their consumers.

    `lists`: the names of the lists in the export. Without credentials among them, nothing is
    joined.
    """

    def __init__(self, lists: Container[str]) -> None:
        self._has_credentials = any(name in lists for name in CREDENTIAL_TYPES)
        self._consumers: dict[str, dict[str, Any]] = {}
        self._used: set[str] = set()

    def remember(self, consumer: Any) -> bool:
        """Remember a consumer. Return False if its credentials stand inside, as decK writes it."""
        consumer = object_value(consumer)
        if (
            not self._has_credentials
            or any(name in consumer for name in CREDENTIAL_TYPES)
            or not consumer.get("id")
        ):
            return False
        kept = {
            each: consumer[each] for each in ("username", "custom_id", "tags") if each in consumer
        }
        self._consumers[text_value(consumer["id"])] = kept
        return True

    def with_consumer(self, kind: str, credential: Any) -> dict[str, Any]:
        """Return the consumer with this credential only, as decK would write it."""
        credential = object_value(credential)
        named = credential.get("consumer")
        number = text_value(object_value(named).get("id") if isinstance(named, dict) else named)
        consumer = self._consumers.get(number)
        if consumer is None:
            return {UNKNOWN_CONSUMER: number}
        self._used.add(number)
        return {**consumer, kind: [credential]}

    def consumers_without_credentials(self) -> list[dict[str, Any]]:
        """Return the consumers that no credential belonged to."""
        return [each for number, each in self._consumers.items() if number not in self._used]


KONG_EXPORT = ExportFormat(
    "Kong", KONG_HEADER, _is_consumer, _rows_of_consumer, left_out=_left_out_of_consumer
)
