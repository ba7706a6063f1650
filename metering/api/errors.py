"""Every refusal in one shape: a code for programs and a message for people."""

from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException, ErrorDetail
from rest_framework.response import Response
from rest_framework.views import exception_handler


class Malformed(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "malformed"


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class UnknownEncoding(APIException):
    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unknown_encoding"


def as_json(error: Exception, context: dict[str, Any]) -> Response | None:
    """`{"code", "message"}` for what REST framework knows; the rest is not ours to hide."""
    response = exception_handler(error, context)
    if response is not None:
        detail = response.data["detail"]
        code = detail.code if isinstance(detail, ErrorDetail) else "error"
        response.data = {"code": code, "message": str(detail)}
    return response
