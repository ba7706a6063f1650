"""APISIX: consumers with their `key-auth`, and credentials of consumers.

The Admin API lists both, a standalone `apisix.yaml` has both as consumers, and ADC dumps
credentials inside their consumers. https://apisix.apache.org/docs/apisix/admin-api/
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    join_texts,
    numbered_name,
    object_value,
    objects_in,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

APISIX_HEADER = ["customer", "name", "key", "tags", "key_active_from"]
KEY_TYPE = "key-auth"
# What consumers have besides, and that revcred cannot take. In words, by APISIX's names.
OTHER_TYPES: Mapping[str, str] = {
    "basic-auth": "basic-auth credentials",
    "hmac-auth": "HMAC credentials",
    "jwt-auth": "JWT secrets",
    "ldap-auth": "LDAP users",
    "wolf-rbac": "wolf-rbac users",
}
OWNER_LABELS = ("customer", "organization", "company", "account")
# Of a credential, in its key at the Admin API and in its id in a file: its consumer and its name.
CREDENTIAL_PATH = re.compile(r"(?:.*/consumers/)?([^/]+)/credentials/([^/]+)")
CONSUMER_PATH = re.compile(r".*/consumers/[^/]+")


def _about(item: Any) -> dict[str, Any]:
    """Return the consumer or credential, which the Admin API wraps as a value."""
    item = object_value(item)
    return object_value(item.get("value", item))


def _path_of(item: dict[str, Any]) -> str:
    return first_text(item.get("key") if "value" in item else "", _about(item).get("id"))


def _is_consumer(item: Any) -> bool:
    about, path = _about(item), _path_of(object_value(item))
    return bool(
        CREDENTIAL_PATH.fullmatch(path)
        or CONSUMER_PATH.fullmatch(path)
        or (
            "username" in about
            and (isinstance(about.get("plugins"), dict) or _typed_credentials(about))
        )
    )


def _typed_credentials(about: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the credentials that ADC dumps inside their consumer."""
    return [each for each in objects_in(about.get("credentials")) if "type" in each]


def _rows_of_consumer(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    about = _about(item)
    path = CREDENTIAL_PATH.fullmatch(_path_of(item))
    consumer = path[1] if path else text_value(about.get("username"))
    name = first_text(about.get("name"), path[2]) if path else consumer
    labels = object_value(about.get("labels"))
    keys = _keys_of(about)
    for number, (own_name, config) in enumerate(keys, start=1):
        yield [
            first_text(*(labels.get(each) for each in OWNER_LABELS), consumer),
            own_name or numbered_name(name, number, of=len(keys)),
            text_value(config.get("key")),
            join_texts(
                f"{label}={text_value(value)}"
                for label, value in labels.items()
                if label not in OWNER_LABELS
            ),
            text_value(about.get("create_time")),  # seconds
        ]


def _keys_of(about: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return each key's own name, or "", and its configuration."""
    plugins = object_value(about.get("plugins"))
    own = [("", object_value(plugins[KEY_TYPE]))] if KEY_TYPE in plugins else []
    return own + [
        (text_value(each.get("name")), object_value(each.get("config")))
        for each in _typed_credentials(about)
        if each["type"] == KEY_TYPE
    ]


def _left_out_of_consumer(item: dict[str, Any]) -> Iterator[str]:
    about = _about(item)
    types = [*object_value(about.get("plugins"))]
    types += [text_value(each["type"]) for each in _typed_credentials(about)]
    others = [OTHER_TYPES[each] for each in types if each in OTHER_TYPES]
    yield from others
    if KEY_TYPE not in types and not others:
        yield "consumers without credentials of their own"


APISIX_EXPORT = ExportFormat(
    "APISIX", APISIX_HEADER, _is_consumer, _rows_of_consumer, left_out=_left_out_of_consumer
)
