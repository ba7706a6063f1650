"""OpenAPI documentation of the doors.

The schema of a body comes from the types of its decoder, so that the page cannot promise a field
that the door does not read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from revcred.api.schema import ERROR_SCHEMA, RequiredBodySchema, json_schema_of

ViewMethod = TypeVar("ViewMethod", bound=Callable[..., Any])

TRANSACTION_TAGS = ["Transactions"]

MOMENT_SCHEMA = {"type": "string", "format": "date-time"}
# A customer, product, subscription or source: its name for people, its external key for programs.
NAMED_OBJECT_SCHEMA = {
    "type": ["object", "null"],
    "properties": {"name": {"type": "string"}, "external_key": {"type": "string"}},
}
# The answer to a POST. `delivery` is the id of the stored batch, which support can look up.
ACCEPTANCE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["delivery", "accepted", "rejected"],
    "properties": {
        "delivery": {"type": "string", "format": "uuid"},
        "accepted": {"type": "integer", "description": "Items accepted, repeats included."},
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "transaction_id", "field", "code", "message"],
                "properties": {
                    "index": {"type": "integer", "description": "Position in the body, from 0."},
                    "transaction_id": {"type": ["string", "null"]},
                    "field": {"type": ["string", "null"]},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
# Required are only fields that a transaction has in every state, also while it waits.
RECEIPT_SCHEMA = {
    "type": "object",
    "required": ["transaction_id", "gateway", "state", "elements", "occurred_at", "received_at"],
    "properties": {
        "transaction_id": {"type": "string"},
        "gateway": {"type": "string"},
        "state": {"type": "string", "enum": ["waiting", "attributed", "quarantined"]},
        "reason": {
            "type": ["string", "null"],
            "enum": [
                "unknown_key",
                "key_not_valid",
                "no_subscription",
                "subscription_mismatch",
                "ambiguous",
                "anonymous",
                "unknown_credential",
                "unknown_customer",
                "unknown_product",
                "unknown_subscriber",
                "names_disagree",
                "poison",
                "moment_outside",
                None,
            ],
        },
        "reason_text": {"type": ["string", "null"]},
        "matched_by": {
            "type": ["string", "null"],
            "enum": ["key", "alias", "subscription", "name", None],
        },
        "key_hint": {"type": ["string", "null"]},
        "credential": {
            "type": ["object", "null"],
            "properties": {
                "id": {"type": "integer"},
                "name": {"type": "string"},
                "environment": {"type": "string"},
            },
        },
        "assignment": {
            "type": ["object", "null"],
            "properties": {
                "id": {"type": "integer"},
                "active_from": MOMENT_SCHEMA,
                "active_until": MOMENT_SCHEMA | {"type": ["string", "null"]},
            },
        },
        "subscription": NAMED_OBJECT_SCHEMA,
        "customer": NAMED_OBJECT_SCHEMA,
        "product": NAMED_OBJECT_SCHEMA,
        "source": NAMED_OBJECT_SCHEMA,
        "subscription_named": {"type": ["string", "null"]},
        "source_named": {"type": ["string", "null"]},
        "method": {"type": ["string", "null"]},
        "path": {"type": ["string", "null"]},
        "status": {"type": ["integer", "null"]},
        "request_bytes": {"type": ["integer", "null"]},
        "response_bytes": {"type": ["integer", "null"]},
        "latency_ms": {"type": ["number", "null"]},
        "elements": {"type": "object", "additionalProperties": {"type": "number"}},
        "metadata": {"type": ["object", "null"]},
        "names": {"type": ["object", "null"]},
        "occurred_at": MOMENT_SCHEMA,
        "received_at": MOMENT_SCHEMA,
        "attributed_at": MOMENT_SCHEMA | {"type": ["string", "null"]},
        "history": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "at": MOMENT_SCHEMA,
                    "what": {"type": "string"},
                    "by": {"type": "string"},
                },
            },
        },
        "conflicts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"received_at": MOMENT_SCHEMA, "content": {"type": "object"}},
            },
        },
        "others_of_this_id": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Receipts of other calls with the same id: where callers may choose "
            "ids, and for tools that a model called under the id of its answer.",
        },
    },
}
REJECTED_RECEIPT_SCHEMA = {
    "type": "object",
    "description": "The receipt of an id that was rejected and never accepted.",
    "required": ["transaction_id", "gateway", "state", "reason", "reason_text", "rejected_at"],
    "properties": {
        "transaction_id": {"type": "string"},
        "gateway": {"type": "string"},
        "state": {"type": "string", "enum": ["rejected"]},
        "reason": {"type": "string", "description": "The code of the rejection."},
        "reason_text": {"type": "string"},
        "field": {"type": ["string", "null"]},
        "rejected_at": MOMENT_SCHEMA,
    },
}
# With status 400 the body is the same as with 202, plus code and message: a sender that logs errors
# only then logs why.
NOTHING_ACCEPTED_SCHEMA = {
    "type": "object",
    "description": "Every item was rejected. Code and message are those of the first.",
    "required": [*ACCEPTANCE_SCHEMA["required"], *ERROR_SCHEMA["required"]],
    "properties": {**ACCEPTANCE_SCHEMA["properties"], **ERROR_SCHEMA["properties"]},
}

# Examples that a reader can copy: all fields of a call, and the fewest that are enough.
EXAMPLE_CALL = {
    "transaction_id": "b2c1e0d4-5a77-4f0e-9a57-0d6f6c1b7a01",
    "occurred_at": "2026-01-15T12:00:00Z",
    "key": "the-callers-own-key",
    "source": "maps",
    "method": "GET",
    "path": "/maps/v1/tiles/5/16/11",
    "status": 200,
    "response_bytes": 20481,
    "latency_ms": 12.5,
    "elements": {"calls": 1, "tiles": 4},
}
SMALLEST_EXAMPLE_CALL = {
    "transaction_id": "req-2",
    "occurred_at": "2026-01-15T12:00:01Z",
    "subscription": "acme-maps",
}

# Every door may answer these: no valid token, a token without the right, no database.
COMMON_ERROR_SCHEMAS = {
    401: ERROR_SCHEMA,
    403: ERROR_SCHEMA,
    503: ERROR_SCHEMA,
}


@dataclass(frozen=True, kw_only=True)
class DoorDocumentation:
    """Documentation of one door. `request` and `answers` are JSON schemas."""

    name: str
    summary: str
    description: str = ""
    tag: str
    request: Mapping[str, Any] | None = None  # by media type
    answers: Mapping[Any, Any]  # by status, or by status and media type
    errors: Sequence[int] = (400, 401, 403, 413, 415, 429, 503)
    error: Mapping[str, Any] = field(default_factory=lambda: ERROR_SCHEMA)
    parameters: Sequence[OpenApiParameter] = ()
    examples: Sequence[OpenApiExample] = ()


class DoorSchema(RequiredBodySchema):
    """Schema of a door, taken from its dialect."""

    @property
    def _documented(self) -> DoorDocumentation:
        documented: DoorDocumentation = self.view.dialect.documented  # type: ignore[attr-defined]
        return documented

    def get_operation_id(self) -> str:
        return self._documented.name

    def get_summary(self) -> str:
        return self._documented.summary

    def get_description(self) -> str:  # type: ignore[override]  # as AutoSchema has it
        return self._documented.description

    def get_tags(self) -> list[str]:
        return [self._documented.tag]

    def get_override_parameters(self) -> list[Any]:
        return list(self._documented.parameters)

    # drf-spectacular takes dictionaries of JSON schemas wherever it takes serializers.
    def get_request_serializer(self) -> Any:
        return dict(self._documented.request or {})

    def get_response_serializers(self) -> Any:
        documented = self._documented
        # What a dialect says of a status wins over the shape that all its errors have.
        return {**dict.fromkeys(documented.errors, documented.error), **documented.answers}

    def get_examples(self) -> list[OpenApiExample]:
        return list(self._documented.examples)


def post_transactions(item: type[msgspec.Struct]) -> DoorDocumentation:
    """Return the documentation of the native door, whose items are decoded into `item`."""
    one = json_schema_of(item)
    return DoorDocumentation(
        name="post_transactions",
        summary="Post metered transactions",
        tag=TRANSACTION_TAGS[0],
        description=(
            "One object, an array of up to 1,000, or one object a line "
            "(`application/x-ndjson`); at most 1 MB, also when inflated from gzip. The answer "
            "comes once everything accepted is safe on disk. An item with an error is rejected by "
            "itself; the answer is 400 if all of them are. A wrong id, moment, key, subscription, "
            "source or element rejects the item; a wrong method, path, status, size or latency "
            "does not, and is kept as metadata. A transaction that is sent again is counted once: "
            "after any error, or without an answer, simply send it again."
        ),
        request={
            "application/json": {
                "oneOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 1000}]
            },
            "application/x-ndjson": one,
        },
        answers={
            202: ACCEPTANCE_SCHEMA,
            400: {"anyOf": [NOTHING_ACCEPTED_SCHEMA, ERROR_SCHEMA]},
        },
        examples=[
            OpenApiExample("One call", value=EXAMPLE_CALL, request_only=True),
            OpenApiExample(
                "Two calls, the second with required fields only",
                value=[EXAMPLE_CALL, SMALLEST_EXAMPLE_CALL],
                request_only=True,
            ),
            OpenApiExample(
                "One of two was rejected",
                value={
                    "delivery": "01a20c40-d37e-7c5e-a3b6-4ca8bbdd2c37",
                    "accepted": 1,
                    "rejected": [
                        {
                            "index": 1,
                            "transaction_id": "req-2",
                            "field": "occurred_at",
                            "code": "too_old",
                            "message": "It is more than 31 days ago.",
                        }
                    ],
                },
                response_only=True,
                status_codes=["202"],
            ),
        ],
    )


document_get_receipt = extend_schema(
    operation_id="get_receipt",
    summary="The receipt of a transaction",
    tags=TRANSACTION_TAGS,
    description=(
        "Only of the gateway's own transactions. The receipt of a rejected one has the reason."
    ),
    parameters=[OpenApiParameter("transaction_id", OpenApiTypes.STR, OpenApiParameter.PATH)],
    responses={
        200: {"oneOf": [RECEIPT_SCHEMA, REJECTED_RECEIPT_SCHEMA]},
        404: ERROR_SCHEMA,
        **COMMON_ERROR_SCHEMAS,
    },
    examples=[
        OpenApiExample(
            "Attributed",
            value={
                "transaction_id": "req-2",
                "gateway": "edge",
                "state": "attributed",
                "reason": None,
                "matched_by": "key",
                "key_hint": "7a01",
                "credential": {"id": 7, "name": "Backend", "environment": "production"},
                "subscription": {"name": "Acme Maps", "external_key": "acme-maps"},
                "customer": {"name": "Acme", "external_key": "acme"},
                "elements": {"calls": 1},
                "occurred_at": "2026-01-15T12:00:01Z",
                "received_at": "2026-01-15T12:00:01.310Z",
                "attributed_at": "2026-01-15T12:00:01.402Z",
                "history": [
                    {"at": "2026-01-15T12:00:01.310Z", "what": "Received from edge", "by": ""},
                    {"at": "2026-01-15T12:00:01.402Z", "what": "Attributed to Acme Maps", "by": ""},
                ],
                "conflicts": [],
            },
            response_only=True,
            status_codes=["200"],
        )
    ],
)


class GatewayTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "metering.api.authentication.GatewayAuthentication"
    # Two schemes of one class: many clients can only set a header of their own for the token.
    name = ["bearer", "x-api-key"]  # noqa: RUF012 - as the base class has it

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer", "description": "A gateway's token, hak_rvg_…"},
            {"type": "apiKey", "in": "header", "name": "x-api-key"},
        ]
