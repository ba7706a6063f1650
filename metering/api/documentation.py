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

from metering.api.acceptance import Acceptance, NothingAccepted
from revcred.api.schema import ERROR_SCHEMA, RequiredBodySchema, json_schema_of

ViewMethod = TypeVar("ViewMethod", bound=Callable[..., Any])

TRANSACTION_TAGS = ["Transactions"]

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
            202: json_schema_of(Acceptance),
            400: {"anyOf": [json_schema_of(NothingAccepted), ERROR_SCHEMA]},
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


def document_get_receipt(
    receipt: type[msgspec.Struct], rejected: type[msgspec.Struct]
) -> Callable[[ViewMethod], ViewMethod]:
    return extend_schema(
        operation_id="get_receipt",
        summary="The receipt of a transaction",
        tags=TRANSACTION_TAGS,
        description=(
            "Only of the gateway's own transactions. The receipt of a rejected one has the reason."
        ),
        parameters=[OpenApiParameter("transaction_id", OpenApiTypes.STR, OpenApiParameter.PATH)],
        responses={
            200: {"oneOf": [json_schema_of(receipt), json_schema_of(rejected)]},
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
                        {
                            "at": "2026-01-15T12:00:01.402Z",
                            "what": "Attributed to Acme Maps",
                            "by": "",
                        },
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
