"""Errors of the API, each with a code for programs and a message for people."""

from rest_framework import status
from rest_framework.exceptions import APIException


class MalformedRequest(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "malformed"


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class UnsupportedContentType(APIException):
    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unknown_type"


class ConflictingState(APIException):
    """The thing is in no state for the action."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "not_now"
