"""Answers in Revenium's format: records of metered calls and of errors."""

import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException

from metering.api.backlog import backlog
from metering.api.decoding import ItemRejected
from metering.api.dialects import Answer
from revcred.api.errors import error_answer
from revcred.fingerprints import fingerprint
from revcred.models import Gateway

RECORD_MOMENT_SCHEMA = {"type": "string", "format": "date-time"}
TEXT_SCHEMA = {"type": "string"}
RECORD_SCHEMA = {
    "type": "object",
    "required": ["id", "label", "resourceType", "signature", "created", "updated", "_links"],
    "properties": {
        "id": TEXT_SCHEMA | {"description": "The transaction's id."},
        "label": TEXT_SCHEMA,
        "resourceType": {"type": "string", "enum": ["metering"]},
        "signature": TEXT_SCHEMA,
        "created": RECORD_MOMENT_SCHEMA | {"description": "When it first arrived."},
        "updated": RECORD_MOMENT_SCHEMA,
        "_links": {"type": "object"},
    },
}
ERROR_RECORD_SCHEMA = {
    "type": "object",
    "required": ["timestamp", "status", "error", "message", "path", "details", "errors"],
    "properties": {
        "timestamp": RECORD_MOMENT_SCHEMA,
        "status": {"type": "integer"},
        "error": TEXT_SCHEMA,
        "message": TEXT_SCHEMA,
        "path": TEXT_SCHEMA,
        "details": {"type": "object", "additionalProperties": TEXT_SCHEMA},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": TEXT_SCHEMA,
                    "field": {"type": ["string", "null"]},
                    "message": TEXT_SCHEMA,
                },
            },
        },
        # Only with errors that go away by themselves.
        "retryAfterSeconds": {"type": "integer"},
    },
}
# 409 comes from idempotency keys alone.
ERROR_STATUSES = (400, 401, 403, 409, 413, 415, 429, 503)
# All doors share one limit, so that there is one bucket.
RATE_LIMIT_BUCKET = "metering"


class InvalidField(APIException):
    """A post that is rejected for one of its fields."""

    status_code = HTTPStatus.BAD_REQUEST

    index = 0  # a body of these doors is one item

    def __init__(
        self, rejection: ItemRejected, transaction_id: str | None = None, key: str | None = None
    ) -> None:
        super().__init__(rejection.message, rejection.code)
        self.field = rejection.field
        self.transaction_id, self.key = transaction_id, key


def metering_record(gateway: Gateway, transaction_id: str, created: datetime) -> dict[str, Any]:
    """Return the record of an accepted transaction; `created` is when it first came."""
    moment = format_moment(created)
    # `updated` never differs: the first content of an id stands.
    return {
        "id": transaction_id,
        "label": f"metering {transaction_id}",
        "resourceType": "metering",
        "signature": _record_signature(gateway, transaction_id),
        "created": moment,
        "updated": moment,
        "_links": {},
    }


def error_record(error: APIException, path: str) -> Answer:
    """Return an error in Revenium's format; `path` is the one that was posted to."""
    status, code_and_message, headers = error_answer(error)
    code, message = code_and_message["code"], code_and_message["message"]
    field = getattr(error, "field", None)
    body = {
        "timestamp": format_moment(datetime.now(UTC)),
        "status": status,
        "error": HTTPStatus(status).phrase,
        "message": f"{field}: {message}" if field else message,
        "path": path,
        "details": {field: message} if field else {},
        "errors": [{"code": code, "field": field, "message": message}],
    }
    # Also in the body, where Revenium has it; the header is among `headers`.
    if wait := getattr(error, "wait", None):
        body["retryAfterSeconds"] = wait
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
