"""Errors of the API in one shape: a code for programs and a message for people."""

from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException, AuthenticationFailed, ErrorDetail
from rest_framework.response import Response
from rest_framework.views import exception_handler

# HTTP requires this header with every 401.
BEARER_CHALLENGE = 'Bearer realm="revcred"'


class UnknownEncoding(APIException):
    """The body is compressed in a way that revcred cannot read."""

    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unknown_encoding"


class UnknownEventFormat(APIException):
    """The body is a CloudEvent in another format than JSON, such as Avro."""

    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unknown_format"
    default_detail = "This CloudEvents format is not supported. Send JSON."


class SlowDown(APIException):
    """One gateway has more waiting transactions, or in-flight requests, than its share."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "slow_down"
    default_detail = "Too many transactions of this gateway are waiting. Send it again."
    wait = 1  # seconds, sent as Retry-After


class Overloaded(APIException):
    """All gateways together have more waiting transactions than workers can process soon."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "overloaded"
    default_detail = "Too many transactions are waiting. Send it again."
    wait = 1  # seconds


class DatabaseUnavailable(APIException):
    """The database did not answer within the deadline of a request."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "The database is not available. Send it again."
    wait = 1  # seconds


def error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return `{"code", "message"}` for errors of REST framework, and None for all others.

    None leaves the error to Django, which logs it with its traceback and answers 500.
    """
    response = exception_handler(error, context)
    if response is not None:
        response.data = _error_body(response.data["detail"])
    return response


def error_answer(error: APIException) -> tuple[int, dict[str, str], dict[str, str]]:
    """Return status, body and headers of an error, for doors that bypass REST framework's views."""
    headers: dict[str, str] = {}
    if isinstance(error, AuthenticationFailed):
        headers["WWW-Authenticate"] = BEARER_CHALLENGE
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(wait)
    return error.status_code, _error_body(error.detail), headers


def _error_body(detail: Any) -> dict[str, str]:
    code = detail.code if isinstance(detail, ErrorDetail) else "error"
    return {"code": str(code), "message": str(detail)}
