"""Errors that only doors have."""

from rest_framework import status
from rest_framework.exceptions import APIException


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
