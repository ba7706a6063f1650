"""`Idempotency-Key`: a post is answered once, and the same again with the same answer for a day."""

import re
from collections.abc import Callable
from hashlib import blake2b
from uuid import UUID

from django.db import connection
from rest_framework import status
from rest_framework.exceptions import APIException

from metering.api.doors import Answer, GatewayPost
from metering.models import IdempotentPost

IDEMPOTENCY_HEADER = "idempotency-key"
IDEMPOTENCY_KEY_PATTERN = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")

# Ours if nobody has it, if that is a day ago, or if whoever began has not been heard of since.
RESERVE_IDEMPOTENCY_KEY = """
INSERT INTO metering_idempotentpost AS standing (mark, content) VALUES (%(mark)s, %(content)s)
ON CONFLICT (mark) DO UPDATE
SET content = excluded.content, began_at = clock_timestamp(), status = NULL, answer = NULL
WHERE standing.began_at < clock_timestamp() - interval '24 hours'
    OR (standing.status IS NULL AND standing.began_at < clock_timestamp() - interval '1 minute')
RETURNING true
"""


class InvalidIdempotencyKey(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid_idempotency_key"
    default_detail = "An idempotency key has 1 to 255 printable characters, no blank at either end."


class IdempotencyKeyMismatch(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "idempotency_key_mismatch"
    default_detail = "Something else was posted under this idempotency key."


class IdempotencyKeyInProgress(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "idempotency_key_in_progress"
    default_detail = "The first post under this idempotency key is not answered yet."
    wait = 1


def answer_once(post: GatewayPost, take: Callable[[GatewayPost], Answer]) -> Answer:
    """Raises InvalidIdempotencyKey, IdempotencyKeyMismatch, IdempotencyKeyInProgress, and what
    `take` raises.
    """
    key = idempotency_key_of(post)
    if key is None:
        return take(post)
    mark, content = idempotency_digest(post, key), _digest_parts(post.path.encode(), post.body)
    if not _reserve_key(mark, content):
        return _replay_answer(mark, content)
    try:
        answer = take(post)
    except Exception:
        IdempotentPost.objects.filter(pk=mark).delete()
        raise
    IdempotentPost.objects.filter(pk=mark).update(status=answer.status, answer=answer.body)
    return answer


def idempotency_key_of(post: GatewayPost) -> str | None:
    """Raises InvalidIdempotencyKey."""
    key = post.headers.get(IDEMPOTENCY_HEADER)
    if key is not None and not IDEMPOTENCY_KEY_PATTERN.fullmatch(key):
        raise InvalidIdempotencyKey
    return key


def idempotency_digest(post: GatewayPost, key: str) -> UUID:
    return _digest_parts(b"%d" % post.gateway.pk, key.encode())


def _reserve_key(mark: UUID, content: UUID) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(RESERVE_IDEMPOTENCY_KEY, {"mark": mark, "content": content})
        return cursor.fetchone() is not None


def _replay_answer(mark: UUID, content: UUID) -> Answer:
    standing = IdempotentPost.objects.filter(pk=mark).first()
    if standing is None:  # its post failed just now
        raise IdempotencyKeyInProgress
    if standing.content != content:
        raise IdempotencyKeyMismatch
    if standing.status is None:
        raise IdempotencyKeyInProgress
    return Answer(standing.status, standing.answer)


def _digest_parts(*parts: bytes) -> UUID:
    return UUID(bytes=blake2b(b"\0".join(parts), digest_size=16).digest())
