"""Apigee: apps exported by apigeecli, each with its credentials."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    join_texts,
    numbered_name,
    objects_in,
    text_value,
)
from revcred.uploads.reading.list_reader import RowCells, RowError

APIGEE_HEADER = ["customer", "name", "key", "secret", "subscription", "expires_at"]


def _is_app(app: Any) -> bool:
    return isinstance(app, dict) and any(
        "consumerKey" in each for each in objects_in(app.get("credentials"))
    )


def _rows_of_app(app: dict[str, Any]) -> Iterator[RowCells | RowError]:
    name = text_value(app.get("name"))
    customer = text_value(app.get("appGroup") or app.get("companyName") or app.get("developerId"))
    credentials = objects_in(app["credentials"])
    for number, each in enumerate(credentials, start=1):
        # Either the whole app or one of its credentials may be revoked.
        if "revoked" in (app.get("status"), each.get("status")):
            yield RowError("", "It is revoked at Apigee.")
            continue
        yield [
            customer,
            numbered_name(name, number, of=len(credentials)),
            text_value(each.get("consumerKey")),
            text_value(each.get("consumerSecret")),
            join_texts(
                product.get("apiproduct") for product in objects_in(each.get("apiProducts"))
            ),
            _moment_of(text_value(each.get("expiresAt"))),
        ]


def _moment_of(milliseconds: str) -> str:
    """Return milliseconds since 1970 as a moment; "" for -1, which means never."""
    if not milliseconds.isdecimal():
        return ""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).isoformat()


APIGEE_EXPORT = ExportFormat("apigeecli", APIGEE_HEADER, _is_app, _rows_of_app)
