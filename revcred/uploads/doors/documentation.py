"""OpenAPI schemas and descriptions of the API for uploads."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from revcred.models import Upload
from revcred.uploads.columns import ListKind
from revcred.uploads.reading import DELIMITER_TITLES, KNOWN_ENCODINGS, MAX_FILE_BYTES

LIST_TOO_LARGE = f"A list has at most {MAX_FILE_BYTES:,} bytes."
UPLOAD_TAGS = ["Uploads"]

# OpenAPI 3.1 writes "or null" as a list of types.
NULLABLE_MOMENT_SCHEMA = {"type": ["string", "null"], "format": "date-time"}
UPLOAD_ERROR_SCHEMA = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}
REJECT_OR_CREATE_SCHEMA = {"type": "string", "enum": ["reject", "create"], "default": "reject"}
CHOICES_SCHEMA: dict[str, Any] = {
    "customers": REJECT_OR_CREATE_SCHEMA
    | {"description": "For rows that name an unknown customer."},
    "subscribers": REJECT_OR_CREATE_SCHEMA
    | {"description": "For rows that name an unknown holder."},
    "subscriptions": REJECT_OR_CREATE_SCHEMA
    | {"description": "For rows that name an unknown subscription."},
    "product": {
        "type": "string",
        "description": "The external key of the product of subscriptions that are created.",
    },
    "keys_of_others": {
        "type": "string",
        "enum": ["reject", "take_over"],
        "default": "reject",
        "description": "For rows with a key of another customer.",
    },
    "people_of_others": {
        "type": "string",
        "enum": ["reject", "join"],
        "default": "reject",
        "description": "For rows that would make people of another customer members of this one.",
    },
    "revoked_keys": {
        "type": "string",
        "enum": ["reject", "use_again"],
        "default": "reject",
        "description": "For rows with a key of a revoked credential. If it is used again, it"
        " counts from now on, or from `key_active_from`.",
    },
}
# Form fields beside the file; of a body that is the file itself, they are in the query.
FILE_FIELDS_SCHEMA: dict[str, Any] = {
    "kind": {"type": "string", "enum": [*ListKind], "default": ListKind.CREDENTIALS.value},
    "name": {"type": "string", "description": "The name of the file."},
    "encoding": {
        "type": "string",
        "enum": [*KNOWN_ENCODINGS],
        "description": "For CSV, if it is not recognised.",
    },
    "delimiter": {
        "type": "string",
        "enum": [*DELIMITER_TITLES],
        "description": "For CSV, if it is not recognised.",
    },
    "fixed_values": {
        "type": "string",
        "description": 'Values that every row has, by column, as JSON: `{"customer": "acme"}`.',
    },
    **CHOICES_SCHEMA,
}
FIXED_VALUES_SCHEMA = {
    "type": "object",
    "description": "Values that every row has, for columns that the file does not have.",
    "additionalProperties": {"type": "string"},
}
MAX_ROW_ERRORS = 10_000  # rows in one answer
ROW_NUMBER_SCHEMA = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "default": 0}
ROW_ERROR_LIMIT_SCHEMA = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_ROW_ERRORS,
    "default": 1_000,
}
COUNTS_BY_NAME_SCHEMA = {"type": "object", "additionalProperties": {"type": "integer"}}
VALUE_CHANGE_SCHEMA = {
    "type": "object",
    "properties": {"column": {"type": "string"}, "old": {}, "new": {}},
}
CHARGED_TO_SCHEMA = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "subscription": {"type": "string"},
        "subscription_id": {"type": ["integer", "null"]},
        "credential": {"type": "string"},
        "reason": {"type": "string"},
    },
}
CALL_MOVEMENT_SCHEMA = {
    "type": "object",
    "properties": {
        "before": CHARGED_TO_SCHEMA,
        "after": CHARGED_TO_SCHEMA,
        "calls": {"type": "integer"},
        "first": {"type": "string", "format": "date-time"},
        "last": {"type": "string", "format": "date-time"},
    },
}
PREVIEW_MEMBER_SCHEMA = {
    "type": "object",
    "properties": {
        "email": {"type": "string"},
        "domain": {"type": "string"},
        "customer": {"type": "string"},
        "role": {"type": "string"},
        "rows": {"type": "integer"},
        "is_rejected": {"type": "boolean", "description": "With the present choices."},
        "is_of_another": {"type": "boolean"},
        "belongs_to": {"type": "array", "items": {"type": "string"}},
    },
}
# The same for every answer about an upload, whatever its state: absent things are null.
UPLOAD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "kind": {"type": "string", "enum": [*ListKind]},
        "name": {"type": "string"},
        "bytes": {"type": "integer"},
        "sha256": {"type": "string"},
        "state": {"type": "string", "enum": Upload.State.values},
        "error": {"type": ["string", "null"]},
        "shape": {"type": ["string", "null"]},
        "columns": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "header": {"type": "string"},
                    "column": {"type": ["string", "null"]},
                },
            },
        },
        "fixed_values": FIXED_VALUES_SCHEMA,
        "choices": {"type": "object", "properties": CHOICES_SCHEMA},
        "rows": {"type": ["integer", "null"]},
        "progress": {
            "type": ["object", "null"],
            "description": "While it is checked, applied or undone.",
            "properties": {
                "done": {"type": "integer"},
                "of": {"type": ["integer", "null"]},
                "fraction": {"type": "number"},
                "rows_a_second": {"type": "integer"},
                "seconds_left": {"type": ["number", "null"]},
            },
        },
        "preview": {
            "type": ["object", "null"],
            "description": "The effect of each row, once the upload is ready.",
            "properties": {
                "counts": COUNTS_BY_NAME_SCHEMA,
                "also_creates": COUNTS_BY_NAME_SCHEMA,
                "effects": COUNTS_BY_NAME_SCHEMA
                | {"description": "Rows by effect. Each effect takes rights of its own."},
                "lacking": {
                    "type": "array",
                    "description": "Effects that the token's user lacks rights for.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "effect": {"type": "string"},
                            "rights": {"type": "array", "items": {"type": "string"}},
                            "rows": {"type": "integer"},
                            "message": {"type": "string"},
                        },
                    },
                },
                "members": {
                    "type": "object",
                    "description": "People who would become members, those of other customers"
                    " first.",
                    "properties": {
                        "count": {"type": "integer"},
                        "of_others": {"type": "integer"},
                        "people": {"type": "array", "items": PREVIEW_MEMBER_SCHEMA},
                    },
                },
                "examples": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "row": {"type": "integer"},
                                "title": {"type": "string"},
                                "values": {"type": "array", "items": VALUE_CHANGE_SCHEMA},
                            },
                        },
                    },
                },
                "reasons": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "column": {"type": "string"},
                            "message": {"type": "string"},
                            "rows": {"type": "integer"},
                        },
                    },
                },
                "moves": {
                    "type": ["object", "null"],
                    "description": "Counted calls that applying the list would move, as of `at`."
                    " If `counted` is false, `why` gives the reason: `long` (trying out the list"
                    " takes too long) or `busy` (somebody was changing the same things).",
                    "properties": {
                        "counted": {"type": "boolean"},
                        "at": NULLABLE_MOMENT_SCHEMA,
                        "why": {"type": "string"},
                        "calls": {"type": "integer"},
                        "is_complete": {"type": "boolean"},
                        "since": {"type": ["string", "null"], "format": "date-time"},
                        "movements": {"type": "array", "items": CALL_MOVEMENT_SCHEMA},
                        "more": {"type": "integer"},
                        "names": {"type": "array", "items": {"type": "object"}},
                        "more_names": {"type": "integer"},
                    },
                },
                "claim": {
                    "type": ["object", "null"],
                    "description": "Transactions in quarantine that would be attributed; null if"
                    " lists of this kind cannot have any.",
                    "properties": {
                        "transactions": {"type": "integer"},
                        "since": NULLABLE_MOMENT_SCHEMA,
                        "customers": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "customer": {"type": ["string", "null"]},
                                    "transactions": {"type": "integer"},
                                },
                            },
                        },
                    },
                },
            },
        },
        "outcome": {"type": ["object", "null"], "additionalProperties": {"type": "integer"}},
        "by": {"type": ["string", "null"]},
        "applied_by": {"type": ["string", "null"]},
        "created_at": {"type": "string", "format": "date-time"},
        "file_kept_until": NULLABLE_MOMENT_SCHEMA
        | {"description": "Null once the file is deleted."},
        "applied_at": NULLABLE_MOMENT_SCHEMA,
        "ended_at": NULLABLE_MOMENT_SCHEMA,
    },
}
ROW_ERRORS_SCHEMA = {
    "type": "object",
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": "integer"},
                    "column": {"type": "string"},
                    "hint": {
                        "type": "string",
                        "description": "The value's start; of a key only its end, of a secret"
                        " nothing.",
                    },
                    "message": {"type": "string"},
                },
            },
        },
        "after": {
            "type": ["integer", "null"],
            "description": "Send it as `after` to get the next rows; null after the last ones.",
        },
    },
}
UPLOAD_ERROR_RESPONSES = {
    401: UPLOAD_ERROR_SCHEMA,
    403: UPLOAD_ERROR_SCHEMA,
    503: UPLOAD_ERROR_SCHEMA,
}
ONE_UPLOAD_ERROR_RESPONSES = {404: UPLOAD_ERROR_SCHEMA, **UPLOAD_ERROR_RESPONSES}

POST_UPLOAD_DESCRIPTION = """\
Send a file as `multipart/form-data`, or as the body itself: CSV, XLSX, JSON, JSON Lines or YAML.

It is checked in the background. Get the upload until its `state` is `ready`. Nothing is written
until you apply it. `unmapped` means that required columns were not recognised: name them with
`check`. `failed` means that the file could not be read; `error` says why."""

list_uploads_schema = extend_schema(
    operation_id="list_uploads",
    summary="List the latest uploads",
    tags=UPLOAD_TAGS,
    responses={
        200: {
            "type": "object",
            "properties": {"uploads": {"type": "array", "items": UPLOAD_SCHEMA}},
        },
        **UPLOAD_ERROR_RESPONSES,
    },
)
post_upload_schema = extend_schema(
    operation_id="post_upload",
    summary="Upload a list",
    description=POST_UPLOAD_DESCRIPTION,
    tags=UPLOAD_TAGS,
    parameters=[
        OpenApiParameter(
            name,
            schema,
            OpenApiParameter.QUERY,
            description="If the body is the file itself.",
        )
        for name, schema in FILE_FIELDS_SCHEMA.items()
    ],
    request={
        "multipart/form-data": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}, **FILE_FIELDS_SCHEMA},
        },
        "application/x-ndjson": {
            "type": "object",
            "description": "An object a line. Its fields are columns, or are mapped to columns.",
        },
        "text/csv": {"type": "string"},
    },
    responses={
        202: UPLOAD_SCHEMA,
        400: UPLOAD_ERROR_SCHEMA,
        413: UPLOAD_ERROR_SCHEMA,
        415: UPLOAD_ERROR_SCHEMA,
        **UPLOAD_ERROR_RESPONSES,
    },
    examples=[
        OpenApiExample(
            "One credential of a list",
            value={
                "customer": "acme",
                "name": "Orders service",
                "key": "ak_live_5f2b8c1e9d",
                "subscription": "acme-maps",
            },
            request_only=True,
            media_type="application/x-ndjson",
        )
    ],
)
get_upload_schema = extend_schema(
    operation_id="get_upload",
    summary="Get an upload: its progress, preview and outcome",
    tags=UPLOAD_TAGS,
    responses={200: UPLOAD_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)
get_errors_schema = extend_schema(
    operation_id="get_upload_errors",
    summary="Get the problems of rejected rows",
    tags=UPLOAD_TAGS,
    parameters=[
        OpenApiParameter("after", ROW_NUMBER_SCHEMA, description="The row after which to begin."),
        OpenApiParameter("most", ROW_ERROR_LIMIT_SCHEMA, description="The number of rows at most."),
    ],
    responses={200: ROW_ERRORS_SCHEMA, 400: UPLOAD_ERROR_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)
get_rejected_schema = extend_schema(
    operation_id="get_rejected_rows",
    summary="Download the rejected rows, to correct and upload them again",
    description=(
        "The rows as they were uploaded, with their problems in a column `error`, which is ignored"
        " when you upload the file. Only the user who uploaded the list can download them, because"
        " they contain keys."
    ),
    tags=UPLOAD_TAGS,
    responses={(200, "text/csv"): OpenApiTypes.BINARY, **ONE_UPLOAD_ERROR_RESPONSES},
)
check_upload_schema = extend_schema(
    operation_id="check_upload",
    summary="Check the upload again, with other columns or choices",
    description=(
        "Settings that you leave out stay as they are. Columns are remembered for files with the"
        " same headers."
    ),
    tags=UPLOAD_TAGS,
    request={
        "application/json": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "columns": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "null"]},
                    "description": "The column for each header of the file; null leaves it out.",
                },
                "fixed_values": FIXED_VALUES_SCHEMA,
                "choices": {"type": "object", "properties": CHOICES_SCHEMA},
                "encoding": FILE_FIELDS_SCHEMA["encoding"],
                "delimiter": FILE_FIELDS_SCHEMA["delimiter"],
            },
        }
    },
    responses={
        202: UPLOAD_SCHEMA,
        400: UPLOAD_ERROR_SCHEMA,
        409: UPLOAD_ERROR_SCHEMA,
        **ONE_UPLOAD_ERROR_RESPONSES,
    },
    examples=[
        OpenApiExample(
            "Columns, and what to create",
            value={
                "columns": {"Client": "name", "Remark": None},
                "fixed_values": {"customer": "acme"},
                "choices": {"customers": "create"},
            },
            request_only=True,
        )
    ],
)
apply_upload_schema = extend_schema(
    operation_id="apply_upload",
    summary="Apply the upload in the background",
    description=(
        "`good` applies the rows that are not rejected; `all` means all or nothing. Changes that"
        " somebody makes meanwhile are not overwritten. It takes the rights to everything that the"
        " list does: see `lacking` in the preview. They are checked again while it is applied."
    ),
    tags=UPLOAD_TAGS,
    request={
        "application/json": {
            "type": "object",
            "required": ["rows"],
            "additionalProperties": False,
            "properties": {"rows": {"type": "string", "enum": ["good", "all"]}},
        }
    },
    responses={
        202: UPLOAD_SCHEMA,
        400: UPLOAD_ERROR_SCHEMA,
        409: UPLOAD_ERROR_SCHEMA,
        **ONE_UPLOAD_ERROR_RESPONSES,
    },
)
cancel_upload_schema = extend_schema(
    operation_id="cancel_upload",
    summary="Cancel the upload",
    description=(
        "An upload that is being applied stops soon. Rows that were applied by then stay, unless"
        " it is all or nothing."
    ),
    tags=UPLOAD_TAGS,
    request=None,
    responses={202: UPLOAD_SCHEMA, 409: UPLOAD_ERROR_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)
undo_upload_schema = extend_schema(
    operation_id="undo_upload",
    summary="Undo the upload",
    description="Not possible if something depends on it by then: `depended`, with the reasons.",
    tags=UPLOAD_TAGS,
    request=None,
    responses={202: UPLOAD_SCHEMA, 409: UPLOAD_ERROR_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)


class UserTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "revcred.api.authentication.UserAuthentication"
    name = "user"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "One of your tokens, rvu_…"}
