"""Tyk: keys with their sessions, as the gateway's and the dashboard's API give them.

https://tyk.io/docs/tyk-gateway-api/
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

TYK_HEADER = ["customer", "name", "key", "plan", "holders", "tags", "expires_at", "switched_off"]
SESSION_FIELDS = frozenset({"access_rights", "apply_policies", "apply_policy_id", "quota_max"})
OWNER_FIELDS = ("customer", "organization", "company", "tyk_developer_id")  # in its metadata


def _session_of(item: dict[str, Any]) -> dict[str, Any]:
    return object_value(item.get("data", item))


def _is_key(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and bool({"key_id", "key_hash", "key"} & item.keys())
        and bool(SESSION_FIELDS & _session_of(item).keys())
    )


def _rows_of_key(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    session = _session_of(item)
    about = object_value(session.get("meta_data"))
    key = first_text(item.get("key_id"), item.get("key"))
    if not key:
        yield RowError("key", gettext_noop("Only a hash of the key is in the export."))
        return
    policies = [*list_value(session.get("apply_policies")), session.get("apply_policy_id")]
    yield [
        first_text(*(about.get(each) for each in OWNER_FIELDS), session.get("org_id")),
        first_text(session.get("alias"), about.get("name"), f"Tyk key …{key[-4:]}"),
        key,
        join_texts(policies),
        first_text(about.get("email"), about.get("tyk_developer_email")),
        join_texts(list_value(session.get("tags"))),
        text_value(session.get("expires")),  # seconds; 0 and -1: never
        text_value(session.get("is_inactive")),
    ]


TYK_EXPORT = ExportFormat("Tyk", TYK_HEADER, _is_key, _rows_of_key)
