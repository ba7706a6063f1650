"""Revenium's answers: the record of what was metered, and the record of what was refused."""

import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException

from metering.api.backlog import backlog
from metering.api.decoding import Refused
from metering.api.doors import Answer
from metering.api.errors import answer_to
from revcred.fingerprints import fingerprint
from revcred.models import Gateway

MOMENT = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}
RECORD = {
    "type": "object",
    "required": ["id", "label", "resourceType", "signature", "created", "updated", "_links"],
    "properties": {
        "id": TEXT | {"description": "The transaction's id."},
        "label": TEXT,
        "resourceType": {"type": "string", "enum": ["metering"]},
        "signature": TEXT,
        "created": MOMENT | {"description": "When it first arrived."},
        "updated": MOMENT,
        "_links": {"type": "object"},
    },
}
ERROR = {
    "type": "object",
    "required": ["timestamp", "status", "error", "message", "path", "details", "errors"],
    "properties": {
        "timestamp": MOMENT,
        "status": {"type": "integer"},
        "error": TEXT,
        "message": TEXT,
        "path": TEXT,
        "details": {"type": "object", "additionalProperties": TEXT},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": TEXT,
                    "field": {"type": ["string", "null"]},
                    "message": TEXT,
                },
            },
        },
        "retryAfterSeconds": {"type": "integer"},
    },
}
ERRORS = (400, 401, 403, 409, 413, 415, 429, 503)
BUCKET = "metering"


class Invalid(APIException):
    """One field of what was posted cannot be taken."""

    status_code = HTTPStatus.BAD_REQUEST

    index = 0  # it is the only one in its body

    def __init__(
        self, refused: Refused, transaction_id: str | None = None, key: str | None = None
    ) -> None:
        super().__init__(refused.message, refused.code)
        self.field = refused.field
        self.transaction_id, self.key = transaction_id, key


def record(gateway: Gateway, transaction_id: str, created: datetime) -> dict[str, Any]:
    moment = moment_of(created)
    return {
        "id": transaction_id,
        "label": f"metering {transaction_id}",
        "resourceType": "metering",
        "signature": _signature(gateway, transaction_id),
        "created": moment,
        "updated": moment,
        "_links": {},
    }


def error_record(error: APIException, path: str) -> Answer:
    status, said, headers = answer_to(error)
    code, message = said["code"], said["message"]
    field = getattr(error, "field", None)
    body = {
        "timestamp": moment_of(datetime.now(UTC)),
        "status": status,
        "error": HTTPStatus(status).phrase,
        "message": f"{field}: {message}" if field else message,
        "path": path,
        "details": {field: message} if field else {},
        "errors": [{"code": code, "field": field, "message": message}],
    }
    if wait := getattr(error, "wait", None):
        body["retryAfterSeconds"] = wait
    return Answer(status, body, headers)


def rate_limit(gateway: Gateway) -> Mapping[str, str]:
    """How many more transactions of the gateway may wait to be settled: what 429 is about."""
    return {
        "X-RateLimit-Limit": str(settings.MOST_WAITING_OF_A_GATEWAY),
        "X-RateLimit-Remaining": str(backlog.left_to(gateway.pk)),
        "X-RateLimit-Reset": str(int(time.time()) + 1),
        "X-RateLimit-Bucket": BUCKET,
    }


def moment_of(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _signature(gateway: Gateway, transaction_id: str) -> str:
    """The same whenever the same gateway sends the same transaction, and for nobody else."""
    mark = fingerprint(f"{gateway.pk} {transaction_id}", label="receipt")
    return b64encode(mark.bytes).decode()
