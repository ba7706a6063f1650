"""Lists by script: the same acts as on the pages of the administration."""

from collections.abc import Callable
from functools import partial
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TypeVar, cast

import msgspec
from django.db.models import QuerySet
from django.http import FileResponse, HttpResponseBase
from django.urls import reverse
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from revcred.api.authentication import MayApply, MayUpload, UserAuthentication, user_of
from revcred.api.errors import (
    BodyTooLarge,
    ConflictingState,
    InsufficientStorage,
    MalformedRequest,
    UnsupportedContentType,
)
from revcred.api.rendering import StructRenderer
from revcred.models import Upload
from revcred.uploads import actions, files, quota
from revcred.uploads import mapping as mappings
from revcred.uploads.columns import ListKind, columns_by_name
from revcred.uploads.doors import documentation
from revcred.uploads.doors.bodies import (
    ApplyBody,
    CheckBody,
    ChoicesBody,
    NewUploadFields,
    RowErrorsBody,
    RowErrorsQuery,
    UndoRequestBody,
    UploadBody,
    UploadsBody,
    UploadsQuery,
)
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.reading import MAX_FILE_BYTES

MAX_FORM_OVERHEAD_BYTES = 10_000  # of a multipart body, besides the file
MULTIPART_TYPE = "multipart/form-data"
LENGTH_OR_DIGEST_NEEDED = (
    "Send Content-Length, or the list's SHA-256 as `sha256`. Otherwise nobody could tell if the"
    " list was cut off on the way."
)
LIST_CUT_OFF = "The list did not arrive as it was sent. Nothing has been stored: send it again."
# File names for bodies that are the file itself. The name decides only where the contents do not
# show the format.
FILE_NAMES_BY_TYPE = {
    "application/x-ndjson": "upload.jsonl",
    "application/jsonl": "upload.jsonl",
    "application/json": "upload.json",
    "text/csv": "upload.csv",
    "application/yaml": "upload.yaml",
    "text/markdown": "upload.md",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "upload.xlsx",
}

StructType = TypeVar("StructType", bound=msgspec.Struct)


def read_as(shape: type[StructType], data: Any, *, strict: bool = True) -> StructType:
    """Return the data as a struct. Raises MalformedRequest with the field and the reason."""
    try:
        return msgspec.convert(data, shape, strict=strict)
    except msgspec.ValidationError as error:
        # msgspec's "Expected `int` - at `$.after`" becomes "Expected `int`, in `after`."
        raise MalformedRequest(f"{error}.".replace("`$.", "`").replace(" - at", ", in")) from error


class UploadsAPIView(APIView):
    authentication_classes = (UserAuthentication,)
    permission_classes: Any = (MayUpload,)
    parser_classes: Any = (JSONParser,)
    renderer_classes = (StructRenderer,)

    def uploads(self) -> QuerySet[Upload]:
        return Upload.objects.select_related("by", "applied_by")

    def upload(self, number: int) -> Upload:
        upload = self.uploads().filter(pk=number).first()
        if upload is None:
            raise NotFound("There is no such upload.")
        return upload


class UploadListView(UploadsAPIView):
    # Other bodies are the file itself. No parser may read them into memory.
    parser_classes = (MultiPartParser,)

    @documentation.list_uploads_schema
    def get(self, request: Request) -> Response:
        query = read_as(UploadsQuery, request.query_params.dict(), strict=False)
        uploads = self.uploads()
        if query.before is not None:
            uploads = uploads.filter(pk__lt=query.before)
        # One more than asked for tells whether there is another page.
        found = list(uploads[: query.most + 1])
        page, user = found[: query.most], user_of(request)
        return Response(
            UploadsBody(
                uploads=[UploadBody.of(upload, user) for upload in page],
                before=page[-1].pk if len(found) > query.most else None,
            )
        )

    @documentation.post_upload_schema
    def post(self, request: Request) -> Response:
        # Refuse before reading. The exact limit is checked while the file is copied.
        if _announced_bytes(request) > MAX_FILE_BYTES + MAX_FORM_OVERHEAD_BYTES:
            raise BodyTooLarge(documentation.LIST_TOO_LARGE)
        try:
            quota.check_room(by=user_of(request), more=_announced_bytes(request))
            fields, file, name, announced_bytes = _read_new_upload(request)
            upload = actions.receive_upload(
                kind=fields.kind,
                file=file,
                name=fields.name or name,
                encoding=fields.encoding,
                delimiter=fields.delimiter,
                header_row=fields.header_row or None,
                fixed_values=_valid_fixed_values(
                    fields.kind, _decode_fixed_values(fields.fixed_values)
                ),
                choices=_choices_of(fields),
                like=None if fields.like is None else self._upload_like(fields),
                by=user_of(request),
                announced_bytes=announced_bytes,
                announced_sha256=fields.sha256,
            )
        except actions.FileCutOff as error:
            raise MalformedRequest(LIST_CUT_OFF, "cut_off") from error
        except actions.FileTooLarge as error:
            raise BodyTooLarge(documentation.LIST_TOO_LARGE) from error
        except actions.NoRoom as error:
            raise InsufficientStorage(str(error)) from error
        # 202: the check has only begun.
        body = UploadBody.of(upload, user_of(request))
        return Response(body, status=202, headers={"Location": upload_url(upload)})

    def _upload_like(self, fields: NewUploadFields) -> Upload:
        """Return the upload whose settings are used. Raises MalformedRequest, NotFound."""
        assert fields.like is not None
        if set_beside := fields.settings_sent():
            raise MalformedRequest(
                f"`like` brings its own settings. Leave out: {', '.join(set_beside)}."
            )
        return self.upload(fields.like)


def _announced_bytes(request: Request) -> int:
    return int(request.META.get("CONTENT_LENGTH") or 0)


def _read_new_upload(request: Request) -> tuple[NewUploadFields, BinaryIO, str, int | None]:
    """Return the fields beside the file, the file, its name, and its length if that was announced.

    Raises MalformedRequest, UnsupportedContentType.
    """
    kind = request.content_type.partition(";")[0].strip().lower()
    if "content-encoding" in request.headers:
        raise UnsupportedContentType("Send the file as it is, not compressed.")
    if kind == MULTIPART_TYPE:
        files.uploads_directory()  # Django's upload handler writes there, so it has to exist
        file = request.FILES.get("file")
        if file is None:
            raise MalformedRequest("Send the file in the field 'file'.")
        # Of a form that was cut off, Django finds no end and no file.
        fields = read_as(NewUploadFields, request.POST.dict(), strict=False)
        return fields, file, file.name or "", None
    if kind not in FILE_NAMES_BY_TYPE:
        raise UnsupportedContentType(
            f"Send {MULTIPART_TYPE}, or the file itself as one of {', '.join(FILE_NAMES_BY_TYPE)}."
        )
    fields = read_as(NewUploadFields, request.query_params.dict(), strict=False)
    # Django reads as many bytes as Content-Length says, and a chunked body has none.
    name = FILE_NAMES_BY_TYPE[kind]
    if "HTTP_TRANSFER_ENCODING" not in request.META:
        return fields, cast("BinaryIO", request._request), name, _announced_bytes(request)
    # A server gives the application what came, and not whether the last chunk was among it.
    if not fields.sha256:
        raise MalformedRequest(LENGTH_OR_DIGEST_NEEDED, "length_required")
    return fields, request.META["wsgi.input"], name, None


class UploadDetailView(UploadsAPIView):
    @documentation.get_upload_schema
    def get(self, request: Request, number: int) -> Response:
        return Response(UploadBody.of(self.upload(number), user_of(request)))


class UploadErrorsView(UploadsAPIView):
    @documentation.get_errors_schema
    def get(self, request: Request, number: int) -> Response:
        query = read_as(RowErrorsQuery, request.query_params.dict(), strict=False)
        found = actions.list_row_problems(
            upload=self.upload(number), after=query.after, most=query.most
        )
        # A row may have several problems, so rows are counted and not problems.
        rows = {problem.row for problem in found}
        after = max(rows) if len(rows) == query.most else None
        return Response(RowErrorsBody(errors=list(found), after=after))


class RejectedRowsView(UploadsAPIView):
    @documentation.get_rejected_schema
    def get(self, request: Request, number: int) -> HttpResponseBase:
        """Download the rejected rows. They contain keys in clear, so only the uploader may."""
        upload = self.upload(number)
        rejected = actions.rejected_file_of(upload=upload) if upload.by == request.user else None
        if rejected is None:
            raise NotFound(
                "There are no rejected rows, or they have been deleted, or somebody else uploaded"
                " the list."
            )
        file = TemporaryFile(dir=files.uploads_directory())  # noqa: SIM115 - closed when all of it is sent
        actions.write_rejected_rows(upload=upload, to=file)
        file.seek(0)
        response = FileResponse(file, as_attachment=True, filename=rejected.name)
        response["Content-Type"] = rejected.content_type
        response["Cache-Control"] = "no-store"  # it may contain keys
        return response


class UploadActionView(UploadsAPIView):
    """A view that runs an action and answers with the upload's new state."""

    def run_action(self, upload: Upload, action: Callable[..., None]) -> Response:
        """Run the action. Raises an error of the API if it was not possible."""
        try:
            action(upload=upload, by=user_of(self.request))
        except actions.WrongUploadState:
            raise ConflictingState(f"The upload is {upload.get_state_display().lower()}.") from None
        except actions.SomeRowsRejected:
            raise ConflictingState("Some rows are rejected.", "some_rejected") from None
        except actions.NothingToApply:
            raise ConflictingState("No row changes anything.", "nothing_to_apply") from None
        except actions.ColumnsMissing as error:
            raise MalformedRequest(f"Columns are missing: {error}.", "columns_missing") from None
        except actions.NotAllowed as error:
            raise PermissionDenied(str(error), "rights_missing") from None
        return Response(UploadBody.of(upload, user_of(self.request)), status=202)


class CheckUploadView(UploadActionView):
    @documentation.check_upload_schema
    def post(self, request: Request, number: int) -> Response:
        upload = self.upload(number)
        body = read_as(CheckBody, request.data)
        action = partial(
            actions.recheck_upload,
            mapping=None if body.columns is None else _changed_mapping(upload, body.columns),
            fixed_values=body.fixed_values
            and _valid_fixed_values(ListKind(upload.kind), body.fixed_values),
            choices=_choices_of(body.choices) if body.choices else None,
            encoding=body.encoding,
            delimiter=body.delimiter,
            header_row=body.header_row,
        )
        return self.run_action(upload, action)


def _changed_mapping(upload: Upload, columns: dict[str, str | None]) -> dict[int, str]:
    """Return the upload's mapping with changes: headers to revcred's columns, or to None.

    Raises MalformedRequest.
    """
    mapping = {int(position): name for position, name in upload.mapping.items()}
    known = columns_by_name(ListKind(upload.kind))
    for header, name in columns.items():
        if header not in upload.header:
            raise MalformedRequest(f"The file has no column “{header[:100]}”.")
        if name is not None and name not in known:
            raise MalformedRequest(f"“{name[:100]}” is not one of {', '.join(known)}.")
        mapping.pop(position := upload.header.index(header), None)
        if name is not None:
            # One column of the file at most: the new one replaces another.
            mapping = {other: mapped for other, mapped in mapping.items() if mapped != name}
            mapping[position] = name
    return mapping


def _choices_of(body: ChoicesBody) -> actions.UploadChoices:
    """Return the choices of the body. Raises MalformedRequest."""
    try:
        return body.choices()
    except actions.InvalidChoice as error:
        raise MalformedRequest(str(error)) from error


def _valid_fixed_values(kind: ListKind, cells: dict[str, str]) -> dict[str, str]:
    """Return the values that every row gets. Raises MalformedRequest."""
    try:
        return mappings.parse_fixed_values(kind, cells)
    except InvalidCell as error:
        raise MalformedRequest(f"`fixed_values`: {error}") from error


def _decode_fixed_values(text: str) -> dict[str, str]:
    """Return the fixed values from the form's JSON. Raises MalformedRequest."""
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        message = '`fixed_values` must be a JSON object such as {"customer": "acme"}.'
        raise MalformedRequest(message) from error


class ApplyUploadView(UploadActionView):
    permission_classes = (MayApply,)

    @documentation.apply_upload_schema
    def post(self, request: Request, number: int) -> Response:
        rows = read_as(ApplyBody, request.data).rows
        action = partial(actions.apply_upload, all_or_nothing=rows == "all")
        return self.run_action(self.upload(number), action)


class CancelUploadView(UploadActionView):
    @documentation.cancel_upload_schema
    def post(self, request: Request, number: int) -> Response:
        """Cancel the upload. While it is being applied, this takes the right to apply."""
        upload = self.upload(number)
        if upload.state == Upload.State.APPLYING and not MayApply().has_permission(request, self):
            raise PermissionDenied(MayApply.message, MayApply.code)
        return self.run_action(upload, actions.cancel_upload)


class UndoUploadView(UploadActionView):
    permission_classes = (MayApply,)

    @documentation.undo_upload_schema
    def post(self, request: Request, number: int) -> Response:
        body = read_as(UndoRequestBody, request.data or {})
        action = partial(actions.undo_upload, keep_depended=body.keep_depended)
        return self.run_action(self.upload(number), action)


def upload_url(upload: Upload) -> str:
    return reverse("api:upload", args=[upload.pk])
