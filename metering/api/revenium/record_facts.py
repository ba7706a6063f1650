"""Facts in a record of OTLP: its moment, its columns, whose it is, and what repeats have alike."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from metering.api import facts
from metering.api.decoding import ItemRejected
from metering.api.revenium import fields
from metering.api.revenium.calls_in_logs import (
    KEY_ATTRIBUTES,
    SUBSCRIPTION_ATTRIBUTES,
    is_usage,
)
from metering.api.revenium.log_records import (
    ID_ATTRIBUTES,
    LATENCY_ATTRIBUTE,
    ParsedLogRecord,
    attribute_spellings,
)
from metering.inbox.calls import digest_of_parts
from revcred.fingerprints import fingerprint_hex

UNIX_EPOCH = datetime.fromtimestamp(0, UTC)
MAX_UNIX_NANOSECONDS = 2**63  # in the year 2262

# Attributes that tell whose a record is; of each tuple the first that is there counts. Revenium's
# clients send the same names with the prefix `revenium.`.
CUSTOMER_ATTRIBUTES = ("organization.name",)
PRODUCT_ATTRIBUTES = ("product.name",)
SUBSCRIBER_ATTRIBUTES = ("user.email", "subscriber.id")

RESPONSE_ID_ATTRIBUTE = "gen_ai.response.id"
MAX_RESPONSE_ID_CHARACTERS = 180  # with what is put before it, it is an id

# Attributes that have a column of their own: first the current names of the semantic conventions,
# then their older ones.
METHOD_ATTRIBUTES = ("http.request.method", "http.method")
PATH_ATTRIBUTES = ("url.path", "http.target", "url.full", "http.url")
STATUS_ATTRIBUTES = ("http.response.status_code", "http.status_code")
REQUEST_BYTES_ATTRIBUTES = (
    "http.request.body.size",
    "http.request.size",
    "http.request_content_length",
)
RESPONSE_BYTES_ATTRIBUTES = (
    "http.response.body.size",
    "http.response.size",
    "http.response_content_length",
)

# An admin cannot keep these as labels: they are stored already, or are keys.
STORED_ATTRIBUTES = frozenset(
    {
        LATENCY_ATTRIBUTE,
        *attribute_spellings((*KEY_ATTRIBUTES, *ID_ATTRIBUTES)),
        *(
            *METHOD_ATTRIBUTES,
            *PATH_ATTRIBUTES,
            *STATUS_ATTRIBUTES,
            *REQUEST_BYTES_ATTRIBUTES,
            *RESPONSE_BYTES_ATTRIBUTES,
        ),
    }
)

KEY_ATTRIBUTE_SPELLINGS = frozenset(attribute_spellings(KEY_ATTRIBUTES))
# What decides whose a record is, and which it is.
DECIDING = frozenset(
    attribute_spellings(
        (
            *KEY_ATTRIBUTES,
            *SUBSCRIPTION_ATTRIBUTES,
            *ID_ATTRIBUTES,
            *CUSTOMER_ATTRIBUTES,
            *PRODUCT_ATTRIBUTES,
            *SUBSCRIBER_ATTRIBUTES,
        )
    )
)

# Attributes that tell by which file, process or machine a record came. A collector that restarts
# may read the same line again from another one, so that they must not make it another record.
ORIGIN_PREFIXES = ("log.", "process.", "host.", "container.")
INSTANCE_ATTRIBUTE = "service.instance.id"


def content_digest(record: ParsedLogRecord) -> str:
    """Return the digest that a record shares with its repeats and with no other record.

    It leaves out where the record was read and when it was observed: a collector that restarts may
    read the same line from a file of another name. The key is in it as a fingerprint only.
    """
    own_attributes = {
        name: value
        for name, value in record.attributes.items()
        if name != INSTANCE_ATTRIBUTE
        and not name.startswith(ORIGIN_PREFIXES)
        and name not in KEY_ATTRIBUTE_SPELLINGS
    }
    # Two customers may log the same line in the same nanosecond.
    owner = [*_owner_of(record), record.resource.get("service.name")]
    return digest_of_parts(record.at, record.name, record.body, own_attributes, owner)


def read_columns(record: ParsedLogRecord) -> tuple[dict[str, Any], set[str]]:
    """Return the facts by column, and the names of attributes that cannot be read."""
    columns: dict[str, Any] = {}
    unreadable: set[str] = set()
    for column, names, read in (
        ("method", METHOD_ATTRIBUTES, facts.read_method),
        ("path", PATH_ATTRIBUTES, facts.read_text),
        ("status", STATUS_ATTRIBUTES, facts.read_status),
        ("request_bytes", REQUEST_BYTES_ATTRIBUTES, facts.read_size),
        ("response_bytes", RESPONSE_BYTES_ATTRIBUTES, facts.read_size),
        ("latency_ms", (LATENCY_ATTRIBUTE,), facts.read_latency),
    ):
        name = next((name for name in names if record.attributes.get(name) is not None), None)
        # Only the first name that is there counts, even if its value cannot be read.
        if name is None:
            continue
        try:
            columns[column] = read(record.attributes[name])
        except facts.UnreadableFact:
            unreadable.add(name)
    if "path" in columns:
        columns["path"] = fields.path_of_address(columns["path"])
    return columns, unreadable


def response_id_of(record: ParsedLogRecord) -> str | None:
    """Return the id of the model's response whose usage the record carries, or None.

    Spans and logs report the same response, and have no other id in common.
    """
    response = record.attributes.get(RESPONSE_ID_ATTRIBUTE)
    if not isinstance(response, str) or not response or not any(map(is_usage, record.attributes)):
        return None
    return response if len(response) <= MAX_RESPONSE_ID_CHARACTERS else digest_of_parts(response)


def response_digest(
    record: ParsedLogRecord, response: str, elements: Mapping[str, int | Decimal]
) -> str:
    """Return the digest that all reports of the same usage of a response have alike."""
    amounts = {name: str(Decimal(each).normalize()) for name, each in elements.items()}
    return digest_of_parts("response", response, amounts, _owner_of(record))


def _owner_of(record: ParsedLogRecord) -> list[str | None]:
    key = record.attribute(KEY_ATTRIBUTES)
    return [
        key and fingerprint_hex(key),
        record.attribute(SUBSCRIPTION_ATTRIBUTES),
        record.attribute(SUBSCRIBER_ATTRIBUTES),
        record.configured_attribute(CUSTOMER_ATTRIBUTES),
        record.configured_attribute(PRODUCT_ATTRIBUTES),
    ]


def moment_of_record(record: ParsedLogRecord, arrived_at: datetime) -> datetime:
    """Return the moment of the record, or else that of its arrival. Raises ItemRejected."""
    moment = record.at or record.observed_at
    return _moment_of_nanoseconds(moment) if moment else arrived_at


def _moment_of_nanoseconds(nanoseconds: int) -> datetime:
    if not 0 <= nanoseconds < MAX_UNIX_NANOSECONDS:
        raise ItemRejected(
            "timeUnixNano", "invalid", "It is not a number of nanoseconds since 1970."
        )
    return UNIX_EPOCH + timedelta(microseconds=nanoseconds // 1_000)
