"""OpenAPI schemas and descriptions of the API for uploads."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from revcred.api.schema import ERROR_SCHEMA, json_schema_of
from revcred.uploads.doors.bodies import (
    ApplyBody,
    CheckBody,
    NewUploadFields,
    RowErrorsBody,
    RowErrorsQuery,
    UndoRequestBody,
    UploadBody,
    UploadsBody,
    UploadsQuery,
)
from revcred.uploads.reading import MAX_FILE_BYTES

LIST_TOO_LARGE = f"A list has at most {MAX_FILE_BYTES:,} bytes."
UPLOAD_TAGS = ["Uploads"]

UPLOAD_SCHEMA = json_schema_of(UploadBody)
FILE_FIELD_SCHEMAS: dict[str, Any] = json_schema_of(NewUploadFields)["properties"]

UPLOAD_ERROR_RESPONSES = {
    401: ERROR_SCHEMA,
    403: ERROR_SCHEMA,
    503: ERROR_SCHEMA,
}
ONE_UPLOAD_ERROR_RESPONSES = {404: ERROR_SCHEMA, **UPLOAD_ERROR_RESPONSES}

POST_UPLOAD_DESCRIPTION = """\
Send a file as `multipart/form-data`, or as the body itself: CSV, XLSX, JSON, JSON Lines, YAML or a
Markdown table.

It is checked in the background. Get the upload until its `state` is `ready`. Nothing is written
until you apply it. `unmapped` means that required columns were not recognised: name them with
`check`. `failed` means that the file could not be read; `error` says why."""

list_uploads_schema = extend_schema(
    operation_id="list_uploads",
    summary="List uploads, the latest first",
    tags=UPLOAD_TAGS,
    parameters=[
        OpenApiParameter(name, schema, description=schema.get("description", ""))
        for name, schema in json_schema_of(UploadsQuery)["properties"].items()
    ],
    responses={
        200: json_schema_of(UploadsBody),
        400: ERROR_SCHEMA,
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
        for name, schema in FILE_FIELD_SCHEMAS.items()
    ],
    request={
        "multipart/form-data": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}, **FILE_FIELD_SCHEMAS},
        },
        "application/x-ndjson": {
            "type": "object",
            "description": "An object a line. Its fields are columns, or are mapped to columns.",
        },
        "text/csv": {"type": "string"},
    },
    responses={
        202: UPLOAD_SCHEMA,
        400: ERROR_SCHEMA,
        413: ERROR_SCHEMA,
        415: ERROR_SCHEMA,
        507: ERROR_SCHEMA,
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
        OpenApiParameter(name, schema, description=schema["description"])
        for name, schema in json_schema_of(RowErrorsQuery)["properties"].items()
    ],
    responses={200: json_schema_of(RowErrorsBody), 400: ERROR_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)
get_rejected_schema = extend_schema(
    operation_id="get_rejected_rows",
    summary="Download the rejected rows, to correct and upload them again",
    description=(
        "The rows as they stand in the file, with their numbers and problems in a column `error`,"
        " which is ignored when you upload the file: send it with `like`. Only the user who"
        " uploaded the list can download them, because they contain keys."
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
    request={"application/json": json_schema_of(CheckBody)},
    responses={
        202: UPLOAD_SCHEMA,
        400: ERROR_SCHEMA,
        409: ERROR_SCHEMA,
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
        "`good` applies the rows that are not rejected; `all` means all or nothing. A list that was"
        " applied before is applied again without changing anything. Changes that"
        " somebody makes meanwhile are not overwritten. It takes the rights to everything that the"
        " list does: see `lacking` in the preview. They are checked again while it is applied."
    ),
    tags=UPLOAD_TAGS,
    request={"application/json": json_schema_of(ApplyBody)},
    responses={
        202: UPLOAD_SCHEMA,
        400: ERROR_SCHEMA,
        409: ERROR_SCHEMA,
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
    responses={202: UPLOAD_SCHEMA, 409: ERROR_SCHEMA, **ONE_UPLOAD_ERROR_RESPONSES},
)
undo_upload_schema = extend_schema(
    operation_id="undo_upload",
    summary="Undo the upload",
    description=(
        "In the background. If something depends on it by then, nothing is undone: the `state` is"
        " as before, and `undo` says what depends on it. With `keep_depended`, all other changes"
        " are undone, and `undo.kept` says what was left."
    ),
    tags=UPLOAD_TAGS,
    request={"application/json": json_schema_of(UndoRequestBody)},
    responses={
        202: UPLOAD_SCHEMA,
        400: ERROR_SCHEMA,
        409: ERROR_SCHEMA,
        **ONE_UPLOAD_ERROR_RESPONSES,
    },
)


class UserTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "revcred.api.authentication.UserAuthentication"
    name = "user"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "One of your tokens, rvu_…"}
