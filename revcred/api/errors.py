"""Errors of the API in one shape: a code for programs and a message for people."""

from typing import Any

import msgspec
from msgspec.structs import asdict
from rest_framework import status
from rest_framework.exceptions import APIException, AuthenticationFailed, ErrorDetail
from rest_framework.response import Response
from rest_framework.views import exception_handler

# HTTP requires this header with every 401.
BEARER_CHALLENGE = 'Bearer realm="revcred"'


class ApiError(msgspec.Struct):
    """An error: a code for programs and a message for people."""

    code: str
    message: str


class MalformedRequest(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "malformed"


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class BodyTooSlow(APIException):
    status_code = status.HTTP_408_REQUEST_TIMEOUT
    default_code = "too_slow"


class InsufficientStorage(APIException):
    status_code = status.HTTP_507_INSUFFICIENT_STORAGE
    default_code = "no_room"


class UnsupportedContentType(APIException):
    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unknown_type"


class ConflictingState(APIException):
    """The thing is in no state for the action."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "not_now"


class DatabaseUnavailable(APIException):
    """The database did not answer within the deadline of a request."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "The database is not available. Send it again."
    wait = 1  # seconds


class InternalError(APIException):
    """Something of ours failed. The log says what."""

    status_code = status.HTTP_500_INTERNAL_SERVER_ERROR
    default_code = "error"
    default_detail = "An internal error occurred. Send the request again."


def error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return `{"code", "message"}` for errors of REST framework, and None for all others.

    None leaves the error to Django, which logs it with its traceback and answers 500.
    """
    response = exception_handler(error, context)
    if response is not None:
        # REST framework's renderers know no structs.
        response.data = asdict(_error_body(response.data["detail"]))
    return response


def error_answer(error: APIException) -> tuple[int, ApiError, dict[str, str]]:
    """Return status, body and headers of an error, for doors that bypass REST framework's views."""
    headers: dict[str, str] = {}
    if isinstance(error, AuthenticationFailed):
        headers["WWW-Authenticate"] = BEARER_CHALLENGE
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(wait)
    return error.status_code, _error_body(error.detail), headers


def _error_body(detail: Any) -> ApiError:
    code = detail.code if isinstance(detail, ErrorDetail) else "error"
    return ApiError(str(code), str(detail))
