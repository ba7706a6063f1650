"""WSO2 API Manager: applications of the developer portal with their keys.

https://apim.docs.wso2.com (Developer Portal REST API, applications and oauth-keys)
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

WSO2_HEADER = [
    *("customer", "name", "key", "secret", "plan", "holders", "environment", "state"),
]
USUAL_TYPE = "PRODUCTION"


def _keys_of(application: dict[str, Any]) -> list[dict[str, Any]]:
    return objects_in(application.get("keys") or application.get("list"))


def _is_application(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and "applicationId" in item
        and ("throttlingPolicy" in item or any("consumerKey" in each for each in _keys_of(item)))
    )


def _rows_of_application(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    name = first_text(item.get("name"), item["applicationId"])
    owner = first_text(item.get("owner"), object_value(item.get("subscriberInfo")).get("name"))
    groups = list_value(item.get("groups"))
    for each in _keys_of(item):
        kind = text_value(each.get("keyType"))
        yield [
            first_text(*groups, item.get("organization"), owner),
            name if kind in {"", USUAL_TYPE} else f"{name} ({kind.lower()})",
            text_value(each.get("consumerKey")),
            text_value(each.get("consumerSecret")),
            text_value(item.get("throttlingPolicy")),
            owner if "@" in owner else "",
            kind.lower(),
            # Keys of an application that is not approved cannot call either.
            join_texts((item.get("status"), each.get("keyState"))),
        ]


def _left_out_of_application(item: dict[str, Any]) -> Iterator[str]:
    if not _keys_of(item):
        yield "applications without keys"


WSO2_EXPORT = ExportFormat(
    "WSO2 applications",
    WSO2_HEADER,
    _is_application,
    _rows_of_application,
    left_out=_left_out_of_application,
)
