"""Axway API Manager: applications with their credentials, as the APIM CLI exports them.

https://github.com/Axway-API-Management-Plus/apim-cli (application configuration)
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

AXWAY_HEADER = ["customer", "name", "key", "secret", "holders", "state"]
CREDENTIAL_LISTS = ("credentials", "apiKeys", "oauthClients")
OTHER_TYPES = frozenset({"extclients", "extClients", "external"})


def _credentials_of(application: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for name in CREDENTIAL_LISTS for each in objects_in(application.get(name))]


def _is_application(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and ("organization" in item or "organizationId" in item)
        and any(
            "credentialType" in each
            or ("type" in each and {"apiKey", "clientId", "id"} & each.keys())
            for each in _credentials_of(item)
        )
    )


def _rows_of_application(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    organization = item.get("organization", item.get("organizationId"))
    customer = first_text(organization, object_value(organization).get("name"))
    for each in _credentials_of(item):
        if _type_of(each) in OTHER_TYPES:
            continue
        yield [
            customer,
            text_value(item.get("name")),
            first_text(each.get("apiKey"), each.get("clientId"), each.get("id")),
            text_value(each.get("secret")),
            text_value(item.get("email")),
            join_texts((item.get("state"), item.get("enabled"), each.get("enabled"))),
        ]


def _type_of(credential: dict[str, Any]) -> str:
    return first_text(credential.get("credentialType"), credential.get("type"))


def _left_out_of_application(item: dict[str, Any]) -> Iterator[str]:
    for each in _credentials_of(item):
        if _type_of(each) in OTHER_TYPES:
            yield "external credentials"


AXWAY_EXPORT = ExportFormat(
    "Axway applications",
    AXWAY_HEADER,
    _is_application,
    _rows_of_application,
    left_out=_left_out_of_application,
)
