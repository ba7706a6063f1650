"""Apigee: the apps that apigeecli exports, each with its credentials."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from revcred.uploads.reading.foreign.shapes import Shape, joined, numbered, text, things
from revcred.uploads.reading.lists import Cells, RowError

HEADER = ["customer", "name", "key", "secret", "subscription", "expires_at"]


def _fits(app: Any) -> bool:
    return isinstance(app, dict) and any(
        "consumerKey" in each for each in things(app.get("credentials"))
    )


def _rows(app: dict[str, Any]) -> Iterator[Cells | RowError]:
    name = text(app.get("name"))
    customer = text(app.get("appGroup") or app.get("companyName") or app.get("developerId"))
    credentials = things(app["credentials"])
    for number, each in enumerate(credentials, start=1):
        if "revoked" in (app.get("status"), each.get("status")):
            yield RowError("", "It is revoked at Apigee.")
            continue
        yield [
            customer,
            numbered(name, number, of=len(credentials)),
            text(each.get("consumerKey")),
            text(each.get("consumerSecret")),
            joined(product.get("apiproduct") for product in things(each.get("apiProducts"))),
            _moment(text(each.get("expiresAt"))),
        ]


def _moment(milliseconds: str) -> str:
    """Since 1970; -1 is never."""
    if not milliseconds.isdecimal():
        return ""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).isoformat()


SHAPE = Shape("apigeecli", HEADER, _fits, _rows)
