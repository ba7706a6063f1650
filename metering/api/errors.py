"""Every refusal in one shape: a code for programs and a message for people."""

from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException, AuthenticationFailed, ErrorDetail
from rest_framework.response import Response
from rest_framework.views import exception_handler

BEARER_CHALLENGE = 'Bearer realm="revcred"'


class UnknownEncoding(APIException):
    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unknown_encoding"


class UnknownEventFormat(APIException):
    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unknown_format"
    default_detail = "Of CloudEvents' formats this is not one that is understood: send JSON."


class SlowDown(APIException):
    """More of this gateway waits than is good for the others."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "slow_down"
    default_detail = "Too many of this gateway's transactions wait. Send it again."
    wait = 1  # seconds, as Retry-After


class Overloaded(APIException):
    """More waits than is good for anybody."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "overloaded"
    default_detail = "Too many transactions wait. Send it again."
    wait = 1


class DatabaseUnavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "The database is away. Send it again."
    wait = 1


def error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """`{"code", "message"}` for what REST framework knows; the rest is not ours to hide."""
    response = exception_handler(error, context)
    if response is not None:
        response.data = _error_body(response.data["detail"])
    return response


def error_answer(error: APIException) -> tuple[int, dict[str, str], dict[str, str]]:
    """Status, body and headers of the same answer, for whom no view answers."""
    headers: dict[str, str] = {}
    if isinstance(error, AuthenticationFailed):
        headers["WWW-Authenticate"] = BEARER_CHALLENGE
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(wait)
    return error.status_code, _error_body(error.detail), headers


def _error_body(detail: Any) -> dict[str, str]:
    code = detail.code if isinstance(detail, ErrorDetail) else "error"
    return {"code": str(code), "message": str(detail)}
