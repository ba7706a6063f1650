"""Answers in Revenium's format: records of metered calls and of errors."""

import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from django.conf import settings
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import APIException

from metering.api.backlog import backlog
from metering.api.decoding import ItemRejected
from metering.api.dialects import Answer
from revcred.api.errors import error_answer
from revcred.api.schema import json_schema_of
from revcred.fingerprints import fingerprint
from revcred.models import Gateway

# With milliseconds and "Z", which some clients of Revenium insist on: see `format_moment`.
MomentText = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class MeteringRecord(msgspec.Struct, rename="camel", kw_only=True):
    """The record of an accepted transaction."""

    id: Annotated[str, Meta(description="The transaction's id.")]
    label: str
    resource_type: Literal["metering"] = "metering"
    signature: str
    created: Annotated[MomentText, Meta(description="When it first arrived.")]
    updated: MomentText
    links: dict[str, Any] = msgspec.field(default_factory=dict, name="_links")


class RecordedError(msgspec.Struct):
    """One of the errors in an error record."""

    code: str
    field: str | None
    message: str


class ErrorRecord(msgspec.Struct, rename="camel", kw_only=True):
    """An error in Revenium's format. `retry_after_seconds`: only if it goes away by itself."""

    timestamp: MomentText
    status: int
    error: str
    message: str
    path: str
    details: dict[str, str]
    errors: list[RecordedError]
    retry_after_seconds: int | UnsetType = UNSET


ERROR_RECORD_SCHEMA = json_schema_of(ErrorRecord)
# 409 comes from idempotency keys alone.
ERROR_STATUSES = (400, 401, 403, 409, 413, 415, 429, 503)
# All doors share one limit, so that there is one bucket.
RATE_LIMIT_BUCKET = "metering"


class InvalidField(APIException):
    """A post that is rejected for one of its fields."""

    status_code = HTTPStatus.BAD_REQUEST

    index = 0  # a body of these doors is one item

    def __init__(
        self,
        rejection: ItemRejected,
        transaction_id: str | None = None,
        key: str | None = None,
        *,
        text: str | None = None,
    ) -> None:
        super().__init__(rejection.message, rejection.code)
        self.field = rejection.field
        self.transaction_id, self.key, self.text = transaction_id, key, text


def metering_record(gateway: Gateway, transaction_id: str, created: datetime) -> MeteringRecord:
    """Return the record of an accepted transaction; `created` is when it first came."""
    moment = format_moment(created)
    # `updated` never differs: the first content of an id stands.
    return MeteringRecord(
        id=transaction_id,
        label=f"metering {transaction_id}",
        signature=_record_signature(gateway, transaction_id),
        created=moment,
        updated=moment,
    )


def error_record(error: APIException, path: str) -> Answer:
    """Return an error in Revenium's format; `path` is the one that was posted to."""
    status, said, headers = error_answer(error)
    field = getattr(error, "field", None)
    body = ErrorRecord(
        timestamp=format_moment(datetime.now(UTC)),
        status=status,
        error=HTTPStatus(status).phrase,
        message=f"{field}: {said.message}" if field else said.message,
        path=path,
        details={field: said.message} if field else {},
        errors=[RecordedError(said.code, field, said.message)],
        # Also in the body, where Revenium has it; the header is among `headers`.
        retry_after_seconds=getattr(error, "wait", None) or UNSET,
    )
    return Answer(status, body, headers)


def rate_limit_headers(gateway: Gateway) -> Mapping[str, str]:
    """Return the headers that tell a client how near it is to being slowed down.

    The limit is on waiting transactions and not on requests a minute: it falls as workers process
    them, so that a reset in one second is as good a guess as any.
    """
    return {
        "X-RateLimit-Limit": str(settings.MAX_BACKLOG_PER_GATEWAY),
        "X-RateLimit-Remaining": str(backlog.remaining_for(gateway.pk)),
        "X-RateLimit-Reset": str(int(time.time()) + 1),
        "X-RateLimit-Bucket": RATE_LIMIT_BUCKET,
    }


def format_moment(moment: datetime) -> str:
    """Return a moment with milliseconds and "Z", which some clients of Revenium insist on."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _record_signature(gateway: Gateway, transaction_id: str) -> str:
    """Return a text that is the same for each repeat, and that no other gateway can guess."""
    signature = fingerprint(f"{gateway.pk} {transaction_id}", label="receipt")
    return b64encode(signature.bytes).decode()
