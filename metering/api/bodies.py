"""A request's body, inflated, and never more of it than is allowed."""

import zlib
from gzip import BadGzipFile, GzipFile
from io import BytesIO

from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError

from metering.api.errors import UnknownEncoding
from revcred.api.errors import Malformed, TooLarge

MOST_BYTES = 1_000_000
MEMBER = b"\x1f\x8b\x08"  # how a member of a gzip file begins
MOST_MEMBERS = 1_000
NOT_WHOLE = "The body did not arrive whole."
TOO_LARGE = f"A body has at most {MOST_BYTES:,} bytes, also when it is inflated. Send it in parts."


def read(request: HttpRequest) -> bytes:
    """Raises Malformed, TooLarge, UnknownEncoding."""
    return inflate(raw(request), request.headers.get("content-encoding", ""))


def raw(request: HttpRequest) -> bytes:
    """Return the body as it was sent. Raises Malformed, TooLarge."""
    check_length(int(request.META.get("CONTENT_LENGTH") or 0))
    # Django reads as much as Content-Length says, which is nothing of a chunked body.
    chunked = "HTTP_TRANSFER_ENCODING" in request.META
    stream = request.META["wsgi.input"] if chunked else request
    try:
        body = stream.read(MOST_BYTES + 1)
    except (RawPostDataException, UnreadablePostError) as error:
        raise Malformed(NOT_WHOLE) from error
    check_length(len(body))
    return body


def check_length(length: int) -> None:
    """Raises TooLarge."""
    if length > MOST_BYTES:
        raise TooLarge(TOO_LARGE)


def inflate(body: bytes, content_encoding: str) -> bytes:
    """Raises Malformed, TooLarge, UnknownEncoding."""
    encoding = content_encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip"}:
        message = "A body may be plain or compressed with gzip."
        raise UnknownEncoding(message)
    if body.count(MEMBER) > MOST_MEMBERS:
        message = "The body is compressed in too many parts."
        raise Malformed(message)
    try:
        # All of its members: what is written to a log bit by bit has several.
        inflated = GzipFile(fileobj=BytesIO(body)).read(MOST_BYTES + 1)
    except EOFError as error:
        message = "The compressed body ends too early."
        raise Malformed(message) from error
    except (BadGzipFile, zlib.error) as error:
        message = "The body is not what gzip makes."
        raise Malformed(message) from error
    check_length(len(inflated))
    return inflated
