"""Request bodies: read and inflated, and never more of them than the limit."""

import zlib
from gzip import BadGzipFile, GzipFile
from io import BytesIO

from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError

from metering.api.errors import UnknownEncoding
from revcred.api.errors import BodyTooLarge, MalformedRequest
from revcred.server.received import BODY_TOO_LARGE, INCOMPLETE_BODY, MAX_POST_BYTES

GZIP_MEMBER_START = b"\x1f\x8b\x08"  # the first bytes of each member of a gzip file
# Every member costs Python a new decompressor. A body of empty members would take seconds.
MAX_GZIP_MEMBERS = 1_000


def read_body(request: HttpRequest) -> bytes:
    """Return the inflated body of a request.

    Raises:
        MalformedRequest: it did not arrive whole, or is not gzip although it says so.
        BodyTooLarge: it has more than MAX_POST_BYTES.
        UnknownEncoding: it is compressed in another way than gzip.
    """
    return inflate_body(read_raw_body(request), request.headers.get("content-encoding", ""))


def read_raw_body(request: HttpRequest) -> bytes:
    """Return the body as it was sent. Raises MalformedRequest, BodyTooLarge."""
    check_body_length(int(request.META.get("CONTENT_LENGTH") or 0))
    # Django reads as much as Content-Length says, which is nothing of a chunked body.
    is_chunked = "HTTP_TRANSFER_ENCODING" in request.META
    stream = request.META["wsgi.input"] if is_chunked else request
    try:
        # One byte more than allowed is enough to tell that a chunked body is too large.
        body = stream.read(MAX_POST_BYTES + 1)
    except (RawPostDataException, UnreadablePostError) as error:
        raise MalformedRequest(INCOMPLETE_BODY) from error
    check_body_length(len(body))
    return body


def check_body_length(length: int) -> None:
    """Accept a length in bytes, or raise BodyTooLarge."""
    if length > MAX_POST_BYTES:
        raise BodyTooLarge(BODY_TOO_LARGE.format(MAX_POST_BYTES))


def inflate_body(body: bytes, content_encoding: str) -> bytes:
    """Return the body without its compression.

    Raises:
        MalformedRequest, BodyTooLarge, UnknownEncoding: as `read_body`.
    """
    encoding = content_encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip"}:
        message = "A body may be plain or compressed with gzip."
        raise UnknownEncoding(message)
    if body.count(GZIP_MEMBER_START) > MAX_GZIP_MEMBERS:
        message = "The body is compressed in too many parts."
        raise MalformedRequest(message)
    try:
        # GzipFile reads all members: a log that is written bit by bit has several. It stops after
        # the limit, so that a small body cannot inflate to gigabytes.
        inflated = GzipFile(fileobj=BytesIO(body)).read(MAX_POST_BYTES + 1)
    except EOFError as error:
        message = "The compressed body ends too early."
        raise MalformedRequest(message) from error
    except (BadGzipFile, zlib.error) as error:
        message = "The body is not gzip, although its Content-Encoding says so."
        raise MalformedRequest(message) from error
    check_body_length(len(inflated))
    return inflated
