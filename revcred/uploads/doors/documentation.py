"""What the OpenAPI page says of the doors for lists."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from revcred.models import Upload
from revcred.uploads.columns import ListKind
from revcred.uploads.reading import DELIMITER_TITLES, KNOWN_ENCODINGS, MAX_FILE_BYTES

LIST_TOO_LARGE = f"A list has at most {MAX_FILE_BYTES:,} bytes."
UPLOAD_TAGS = ["Uploads"]

NULLABLE_MOMENT_SCHEMA = {"type": ["string", "null"], "format": "date-time"}
UPLOAD_ERROR_SCHEMA = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}
REFUSE_OR_CREATE_SCHEMA = {"type": "string", "enum": ["refuse", "create"], "default": "refuse"}
CHOICES_SCHEMA: dict[str, Any] = {
    "customers": REFUSE_OR_CREATE_SCHEMA
    | {"description": "Of rows that name an unknown customer."},
    "subscribers": REFUSE_OR_CREATE_SCHEMA
    | {"description": "Of rows that name an unknown holder."},
    "subscriptions": REFUSE_OR_CREATE_SCHEMA
    | {"description": "Of rows that name an unknown subscription."},
    "product": {
        "type": "string",
        "description": "The external key of the product of subscriptions that are created.",
    },
    "keys_of_others": {
        "type": "string",
        "enum": ["refuse", "take_over"],
        "default": "refuse",
        "description": "Of rows with a key of another customer.",
    },
    "people_of_others": {
        "type": "string",
        "enum": ["refuse", "join"],
        "default": "refuse",
        "description": "Of rows by which people who belong to another customer become members.",
    },
    "revoked_keys": {
        "type": "string",
        "enum": ["refuse", "use_again"],
        "default": "refuse",
        "description": "Of rows with a key that a revoked credential had. Used again, it counts"
        " from now on, or from `key_active_from`.",
    },
}
FILE_FIELDS_SCHEMA: dict[str, Any] = {
    "kind": {"type": "string", "enum": [*ListKind], "default": ListKind.CREDENTIALS.value},
    "name": {"type": "string", "description": "What the file is called."},
    "encoding": {
        "type": "string",
        "enum": [*KNOWN_ENCODINGS],
        "description": "If CSV does not say it.",
    },
    "delimiter": {"type": "string", "enum": [*DELIMITER_TITLES], "description": "If CSV hides it."},
    "for_all": {
        "type": "string",
        "description": 'What every row has, by column, as JSON: `{"customer": "acme"}`.',
    },
    **CHOICES_SCHEMA,
}
FIXED_VALUES_SCHEMA = {
    "type": "object",
    "description": "What every row has, by column, where no column of the file says it.",
    "additionalProperties": {"type": "string"},
}
MAX_ROW_ERRORS = 10_000  # rows
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
PREVIEW_MEMBER_SCHEMA = {
    "type": "object",
    "properties": {
        "email": {"type": "string"},
        "domain": {"type": "string"},
        "customer": {"type": "string"},
        "role": {"type": "string"},
        "rows": {"type": "integer"},
        "is_refused": {"type": "boolean", "description": "As `people_of_others` is now."},
        "is_of_another": {"type": "boolean"},
        "belongs_to": {"type": "array", "items": {"type": "string"}},
    },
}
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
        "for_all": FIXED_VALUES_SCHEMA,
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
            "description": "Once it is ready: what each row would do.",
            "properties": {
                "counts": COUNTS_BY_NAME_SCHEMA,
                "adds": COUNTS_BY_NAME_SCHEMA,
                "effects": COUNTS_BY_NAME_SCHEMA
                | {"description": "How many rows do each of what takes a right of its own."},
                "lacking": {
                    "type": "array",
                    "description": "What it would do and this token's user may not.",
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
                    "description": "Who would become a member; people of other customers first.",
                    "properties": {
                        "count": {"type": "integer"},
                        "of_others": {"type": "integer"},
                        "people": {"type": "array", "items": PREVIEW_MEMBER_SCHEMA},
                    },
                },
                "firsts": {
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
                "claim": {
                    "type": ["object", "null"],
                    "description": "What waits in quarantine and would be claimed, if any can be.",
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
        "file_kept_until": NULLABLE_MOMENT_SCHEMA | {"description": "While its file is kept."},
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
                        "description": "The value: of a key its end only, of a secret nothing.",
                    },
                    "message": {"type": "string"},
                },
            },
        },
        "after": {
            "type": ["integer", "null"],
            "description": "Ask again with this for the further ones; null once there are none.",
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
A file as `multipart/form-data`, or as the body itself: CSV, XLSX, JSON, JSON Lines, YAML.

It is checked in the background: ask for it until its `state` is `ready`. Nothing has been written
until it is applied. `unmapped` means that required columns could not be told: say which they are
with `check`. `failed` says why in `error`."""

list_uploads_schema = extend_schema(
    operation_id="list_uploads",
    summary="The last uploads",
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
    summary="Upload a list and have it checked",
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
            "description": "One a line. Its fields are columns, or are mapped to them.",
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
    summary="How far an upload is, and what it would do or did",
    tags=UPLOAD_TAGS,
    responses={200: UPLOAD_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)
get_errors_schema = extend_schema(
    operation_id="get_upload_errors",
    summary="Why rows are refused, row by row",
    tags=UPLOAD_TAGS,
    parameters=[
        OpenApiParameter("after", ROW_NUMBER_SCHEMA, description="Of rows after that one."),
        OpenApiParameter("most", ROW_ERROR_LIMIT_SCHEMA, description="Of so many rows at most."),
    ],
    responses={200: ROW_ERRORS_SCHEMA, 400: UPLOAD_ERROR_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)
get_rejected_schema = extend_schema(
    operation_id="get_refused_rows",
    summary="The refused rows, to be mended and sent again",
    description=(
        "As they came, with the reasons in a column `error` that is left out when the file comes"
        " back. Only for the user who brought the list, because keys are in it."
    ),
    tags=UPLOAD_TAGS,
    responses={(200, "text/csv"): OpenApiTypes.BINARY, **ONE_UPLOAD_ERROR_RESPONSES},
)
check_upload_schema = extend_schema(
    operation_id="check_upload",
    summary="Have it checked again, with other columns or choices",
    description="What is not said stays. Which column is which is remembered for such files.",
    tags=UPLOAD_TAGS,
    request={
        "application/json": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "columns": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "null"]},
                    "description": "Of headers of the file, which of our columns they are.",
                },
                "for_all": FIXED_VALUES_SCHEMA,
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
                "for_all": {"customer": "acme"},
                "choices": {"customers": "create"},
            },
            request_only=True,
        )
    ],
)
apply_upload_schema = extend_schema(
    operation_id="apply_upload",
    summary="Apply it in the background",
    description=(
        "`good` applies the rows that are not refused; `all` means all or nothing. What somebody"
        " changes meanwhile is not overwritten. It takes the rights to all that the list does, as"
        " `lacking` of the preview says; they are asked again while it is applied."
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
    summary="Give it up, or stop it at the end of a row",
    tags=UPLOAD_TAGS,
    request=None,
    responses={202: UPLOAD_SCHEMA, 409: UPLOAD_ERROR_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)
undo_upload_schema = extend_schema(
    operation_id="undo_upload",
    summary="Undo all that it did",
    description="Refused with `depended` if something later depends on it; the message says what.",
    tags=UPLOAD_TAGS,
    request=None,
    responses={202: UPLOAD_SCHEMA, 409: UPLOAD_ERROR_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)


class UserTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "revcred.api.authentication.UserAuthentication"
    name = "user"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token of yours, rvu_…"}
