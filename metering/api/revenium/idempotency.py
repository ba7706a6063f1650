"""Idempotency keys: a repeated post gets the answer of the first one, for 24 hours.

A client that got no answer sends its post again under the same `Idempotency-Key`.
"""

import re
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from uuid import UUID

import msgspec
from django.db import connection
from rest_framework import status
from rest_framework.exceptions import APIException

from metering.api.dialects import Answer, GatewayPost
from metering.inbox.intake import Steps
from metering.models import IdempotentPost

IDEMPOTENCY_HEADER = "idempotency-key"
IDEMPOTENCY_KEY_PATTERN = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")

# One statement, so that of two posts under one key only one gets a row back and goes on. A key is
# free again after 24 hours, and after a minute if its process died before it answered: no post
# takes that long.
RESERVE_IDEMPOTENCY_KEY = """
INSERT INTO metering_idempotentpost AS standing (key_hash, content_hash)
VALUES (%(key_hash)s, %(content_hash)s)
ON CONFLICT (key_hash) DO UPDATE
SET content_hash = excluded.content_hash, began_at = clock_timestamp(), status = NULL, answer = NULL
WHERE standing.began_at < clock_timestamp() - interval '24 hours'
    OR (standing.status IS NULL AND standing.began_at < clock_timestamp() - interval '1 minute')
RETURNING true
"""


class InvalidIdempotencyKey(APIException):
    """The header is too long, or holds characters that no key may have."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid_idempotency_key"
    default_detail = (
        "An idempotency key has 1 to 255 printable characters and no blank at either end."
    )


class IdempotencyKeyMismatch(APIException):
    """Another body or path came under a key that is still reserved."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "idempotency_key_mismatch"
    default_detail = "Another body was posted under this idempotency key. Use a new key."


class IdempotencyKeyInProgress(APIException):
    """The first post under a key is still running, so that there is no answer to repeat."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "idempotency_key_in_progress"
    default_detail = "The first post under this idempotency key is not answered yet. Try again."
    wait = 1  # seconds


def answer_once(
    post: GatewayPost, process: Callable[[GatewayPost], Steps[Answer]]
) -> Steps[Answer]:
    """Process a post, or return the answer that an earlier one got under the same key.

    Raises:
        InvalidIdempotencyKey, IdempotencyKeyMismatch, IdempotencyKeyInProgress
        Exception: whatever `process` raises; then the key is free again.
    """
    key = idempotency_key_of(post)
    if key is None:
        return (yield from process(post))
    key_digest, content_hash = idempotency_digest(post, key), _content_hash_of(post)
    is_ours = yield partial(_reserve_key, key_digest, content_hash)
    if not is_ours:
        replayed: Answer = yield partial(_replay_answer, key_digest, content_hash)
        return replayed
    reserved = IdempotentPost.objects.filter(pk=key_digest)
    try:
        answer = yield from process(post)
    except Exception:
        # An error is no answer worth repeating: the client will mend the post and send it again.
        yield reserved.delete
        raise
    body = msgspec.to_builtins(answer.body)
    yield partial(reserved.update, status=answer.status, answer=body)
    return answer


def idempotency_key_of(post: GatewayPost) -> str | None:
    """Return the post's idempotency key, if it has one. Raises InvalidIdempotencyKey."""
    key = post.headers.get(IDEMPOTENCY_HEADER)
    if key is not None and not IDEMPOTENCY_KEY_PATTERN.fullmatch(key):
        raise InvalidIdempotencyKey
    return key


def idempotency_digest(post: GatewayPost, key: str) -> UUID:
    """Return the digest of gateway and key. Keys of two gateways never meet."""
    return _digest_parts(b"%d" % post.gateway.pk, key.encode())


def id_under(post: GatewayPost, key: str) -> str:
    """Return the id of a call that has none of its own.

    The key alone is not enough: it may be used again for another call, once its day is over.
    """
    return str(_digest_parts(idempotency_digest(post, key).bytes, _content_hash_of(post).bytes))


def _content_hash_of(post: GatewayPost) -> UUID:
    return _digest_parts(post.path.encode(), post.body)


def _reserve_key(key_digest: UUID, content_hash: UUID) -> bool:
    """Reserve a key, and return False if another post holds it."""
    with connection.cursor() as cursor:
        cursor.execute(
            RESERVE_IDEMPOTENCY_KEY, {"key_hash": key_digest, "content_hash": content_hash}
        )
        return cursor.fetchone() is not None


def _replay_answer(key_digest: UUID, content_hash: UUID) -> Answer:
    first_post = IdempotentPost.objects.filter(pk=key_digest).first()
    if first_post is None:  # it failed a moment ago, and freed the key
        raise IdempotencyKeyInProgress
    if first_post.content_hash != content_hash:
        raise IdempotencyKeyMismatch
    if first_post.status is None:
        raise IdempotencyKeyInProgress
    return Answer(first_post.status, first_post.answer)


def _digest_parts(*parts: bytes) -> UUID:
    return UUID(bytes=blake2b(b"\0".join(parts), digest_size=16).digest())
