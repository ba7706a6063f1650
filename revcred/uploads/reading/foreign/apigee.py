"""Apigee: apps exported by apigeecli, each with its credentials.

https://cloud.google.com/apigee/docs/reference/apis/apigee/rest/v1/organizations.developers.apps
"""

from collections.abc import Iterator
from typing import Any

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    first_text,
    join_texts,
    numbered_name,
    objects_in,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

APIGEE_HEADER = ["customer", "name", "key", "secret", "plan", "expires_at", "state"]


def _is_app(app: Any) -> bool:
    return isinstance(app, dict) and any(
        "consumerKey" in each for each in objects_in(app.get("credentials"))
    )


def _rows_of_app(app: dict[str, Any]) -> Iterator[RowCells | RowError]:
    name = text_value(app.get("name"))
    customer = first_text(app.get("appGroup"), app.get("companyName"), app.get("developerId"))
    credentials = objects_in(app["credentials"])
    for number, each in enumerate(credentials, start=1):
        yield [
            customer,
            numbered_name(name, number, of=len(credentials)),
            text_value(each.get("consumerKey")),
            text_value(each.get("consumerSecret")),
            join_texts(product.get("apiproduct") for product in _approved_products(each)),
            text_value(each.get("expiresAt")),  # milliseconds; -1: never
            # Either the whole app or one of its credentials may be revoked.
            join_texts((app.get("status"), each.get("status"))),
        ]


def _approved_products(credential: dict[str, Any]) -> list[dict[str, Any]]:
    products = objects_in(credential.get("apiProducts"))
    return [each for each in products if each.get("status", "approved") == "approved"]


def _left_out_of_app(app: dict[str, Any]) -> Iterator[str]:
    for each in objects_in(app.get("credentials")):
        for _ in range(len(objects_in(each.get("apiProducts"))) - len(_approved_products(each))):
            yield "API products that are pending or revoked"


APIGEE_EXPORT = ExportFormat(
    "apigeecli", APIGEE_HEADER, _is_app, _rows_of_app, left_out=_left_out_of_app
)
