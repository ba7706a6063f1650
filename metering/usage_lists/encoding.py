"""Rows of a list of usage, encoded as the inbox stores calls, by the rules of the native door."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

import msgspec
from django.conf import settings
from django.utils import timezone

from metering.api.decoding import ItemRejected
from metering.api.transactions import AcceptanceWindow, call_from_transaction, transaction_decoder
from metering.inbox.calls import encode_call
from metering.inbox.redaction import NOTHING_WITHHELD
from metering.models.usage import CALLS_ELEMENT
from revcred.models import Gateway
from revcred.models.gateways import max_accepted_days
from revcred.uploads.columns import ListKind, columns_of
from revcred.uploads.staging import InvalidRow

# Columns whose cells are numbers as JSON has them.
NUMBER_COLUMNS = ("status", "request_bytes", "response_bytes", "latency_ms")
# Names that the inbox gives to columns.
STORED_NAMES = {"subscription": "subscription_named", "source": "source_named"}


class UsageRowEncoder:
    """An encoder that turns the values of a row into what is staged of it, without any key.

    It knows the gateways and the moment of the check. Calls may be as old as ledger and memory of
    repeats reach, whatever age their gateway's own calls may have.
    """

    columns: ClassVar = (
        ("gateway_id", "bigint"),
        ("dedup_key", "uuid"),
        ("content_hash", "uuid"),
        ("call", "text"),
    )

    def __init__(self) -> None:
        now, days = timezone.now(), max_accepted_days()
        self._window = AcceptanceWindow(
            now - timedelta(days=days),
            now + timedelta(minutes=settings.NEWEST_TRANSACTION_MINUTES),
            days,
        )
        self._gateways = {gateway.name: gateway for gateway in Gateway.objects.all()}

    def __call__(self, values: Mapping[str, str]) -> Sequence[str | int | None]:
        """Return the staged values: those of the list's columns, then those of `columns`.

        Raises:
            InvalidRow: the native door would reject the call, or there is no such gateway.
        """
        gateway = self._gateways.get(values["gateway"])
        if gateway is None:
            raise InvalidRow("gateway", "No gateway has this name.")
        (item,) = transaction_decoder.decode(_posted_body(values), "application/json")
        try:
            if isinstance(item, ItemRejected):
                raise item
            call = call_from_transaction(item, self._window)
        except ItemRejected as error:
            raise InvalidRow(_column_of(error.field), str(error)) from None
        own, by_id, content_hash, text = encode_call(
            gateway.pk, call, NOTHING_WITHHELD, ids_from_callers=gateway.ids_from_callers
        )
        stored = msgspec.json.decode(text)
        shared = "" if own == by_id else f'"shared_id":"{by_id}",'
        body = f'{{"dedup_key":"{own}",{shared}"content_hash":"{content_hash}",{text[1:]}'
        return (*_shown_values(values, stored), gateway.pk, own, content_hash, body)


def _posted_body(values: Mapping[str, str]) -> bytes:
    """Return the row as the body of a POST to the native door."""
    posted: dict[str, object] = {
        name: msgspec.Raw(value.encode()) if name in NUMBER_COLUMNS else value
        for name, value in values.items()
        if name not in {"gateway", "calls", "elements"}
    }
    elements = _elements_of(values)
    return msgspec.json.encode(posted | ({"elements": elements} if elements else {}))


def _elements_of(values: Mapping[str, str]) -> dict[str, msgspec.Raw]:
    elements: dict[str, msgspec.Raw] = {}
    if "elements" in values:
        try:
            elements = msgspec.json.decode(values["elements"], type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as error:
            raise InvalidRow("elements", f"It cannot be read: {error}.") from None
    if "calls" in values:
        if CALLS_ELEMENT in elements:
            raise InvalidRow("calls", "The row has calls among its elements, too.")
        elements[CALLS_ELEMENT] = msgspec.Raw(values["calls"].encode())
    return elements


def _column_of(field: str | None) -> str:
    return (field or "").partition(".")[0]


def _shown_values(
    values: Mapping[str, str], stored: Mapping[str, object]
) -> list[str | int | None]:
    """Return what is staged of the list's columns: texts as they are stored, no key among them."""
    shown: list[str | int | None] = []
    for column in columns_of(ListKind.USAGE):
        if column.name == "key":
            shown += [stored.get("fingerprint"), stored.get("hint")]  # type: ignore[list-item]
        elif column.name in {"credential", "gateway", "calls", "elements", "occurred_at"}:
            shown.append(values.get(column.name))
        else:
            value = stored.get(STORED_NAMES.get(column.name, column.name))
            shown.append(None if value is None else str(value))
    return shown
