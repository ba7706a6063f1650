"""Checks in the server's event loop, answered from the memory of the register without a query."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from http import HTTPStatus
from itertools import islice
from typing import NamedTuple, Protocol
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections
from prometheus_client import Counter
from rest_framework.exceptions import APIException, AuthenticationFailed

from metering.api import bodies
from metering.api.authentication import TOKEN_HEADER, token_from_headers
from metering.api.dialects import Answer
from metering.api.verification.answering import (
    AUTH_PATH,
    SOURCE_HEADER,
    VERIFY_PATH,
    Checker,
    ForwardedRequest,
    sign_claim,
)
from metering.api.verification.answers import (
    CheckAnswer,
    forward_headers,
    forward_status,
)
from metering.api.verification.errors import CheckAnswerStyle, ForwardAnswerStyle
from metering.models.gateways import gateway_token_digest, is_well_formed_gateway_token
from metering.verification import loading
from metering.verification.askers import Asker
from metering.verification.check_metrics import check_counter
from metering.verification.checking import CallAhead
from metering.verification.facts import Register
from metering.verification.memory import PathsNotKnown, RegisterMemory
from revcred.postgresql import database_deadline
from revcred.server.answers import CompleteAnswer

# A change that is announced clears the cache, and what is in memory does not change otherwise.
ANSWER_CACHE_SECONDS = 60.0
CLAIM_CACHE_SECONDS = 10.0  # a claim is good for a minute, and may be some seconds old already
BRIEF_CACHE_SECONDS = 1.0  # as long as counters of quotas are not read again
MAX_CACHED_ANSWERS = 50_000
HASH_KEY_BYTES, HASH_BYTES = 32, 16
PATHS_SECONDS = 0.5  # that PostgreSQL may take to tell the sources of paths


NO_STORE = {"Cache-Control": "no-store"}


class CachedAnswer(NamedTuple):
    """An answer, until when it holds by time.monotonic(), and what counts that it was given."""

    answer: CompleteAnswer
    good_until: float
    counter: Counter


class Check(Protocol):
    """A request about calls as the server received it. `headers`: by lower-case names."""

    method: str
    path: str
    query_string: str


def is_auth_path(path: str) -> bool:
    return path == AUTH_PATH or path.startswith(f"{AUTH_PATH}/")


class EventLoopChecks:
    """Answers `/v1/verify` and `/v1/auth`, once the register is in memory."""

    def __init__(
        self, memory: RegisterMemory | None = None, thread: Executor | None = None
    ) -> None:
        self.memory = memory or RegisterMemory()
        self._thread = thread or ThreadPoolExecutor(1, "paths")
        # By keyed hashes of what was asked, so that no key of a caller lies in memory.
        self._hash_key = os.urandom(HASH_KEY_BYTES)
        self._cache: dict[bytes, CachedAnswer] = {}
        self._digests: dict[bytes, UUID] = {}  # of valid tokens
        self._cached_generation = -1
        self._verify_style, self._forward_style = CheckAnswerStyle(), ForwardAnswerStyle()

    def begin(self) -> None:
        """Read the register, and go on listening."""
        self.memory.start()

    def end(self) -> None:
        self.memory.stop()

    def take(self, method: str, path: str) -> bool:
        """Return True if the request is about calls, and can be answered from memory.

        Before the register is loaded, and while fingerprints are exchanged, Django answers.
        """
        is_check = (path == VERIFY_PATH and method == "POST") or is_auth_path(path)
        return is_check and self.memory.is_loaded and not settings.OLD_FINGERPRINT_KEY

    def answer_at_once(self, check: Check, headers: Mapping[str, str]) -> CompleteAnswer | None:
        """Return the answer to a check that needs neither a body nor PostgreSQL, or else None."""
        if check.path == VERIFY_PATH:
            return None
        try:
            return self._answer_forwarded(check, headers)
        except PathsNotKnown:
            return None
        except APIException as error:
            answer = self._forward_style.answer_error(error, check.path)
        return self._forward_style.encode(answer, headers=headers, gateway=None)

    async def answer(
        self,
        check: Check,
        headers: Mapping[str, str],
        receive: Callable[[], Awaitable[bytes]],
    ) -> CompleteAnswer:
        """Return the answer to a check. Its body, if it has one, is received for `/v1/verify`."""
        style = self._verify_style if check.path == VERIFY_PATH else self._forward_style
        try:
            if check.path == VERIFY_PATH:
                body = bodies.inflate_body(await receive(), headers.get("content-encoding", ""))
                return await self._with_paths(lambda: self._answer_questions(body, headers))
            return await self._with_paths(lambda: self._answer_forwarded(check, headers))
        except APIException as error:
            answer = style.answer_error(error, check.path)
        return style.encode(answer, headers=headers, gateway=None)

    async def _with_paths(self, ask: Callable[[], CompleteAnswer]) -> CompleteAnswer:
        """Return an answer, after asking PostgreSQL for the sources of paths if only it knows."""
        while True:
            try:
                return ask()
            except PathsNotKnown as unknown:
                is_stale = self.memory.is_stale
                found = {} if is_stale else await self._sources_of_paths(unknown.paths)
                self.memory.remember_paths({**dict.fromkeys(unknown.paths), **found})

    def _answer_questions(self, body: bytes, headers: Mapping[str, str]) -> CompleteAnswer:
        """Return the answer to `/v1/verify`. Raises APIException, PathsNotKnown."""
        asker, _ = self._find_asker(headers.get(TOKEN_HEADER) or token_from_headers(headers))
        checker = self._checker(asker)
        answers = checker.answer_questions(body)
        self.memory.note_refused(checker.refused)
        answer = Answer(HTTPStatus.OK, answers, NO_STORE)
        return self._verify_style.encode(answer, headers=headers, gateway=None)

    def _answer_forwarded(self, check: Check, headers: Mapping[str, str]) -> CompleteAnswer:
        """Return the answer to `/v1/auth`: the one that was given to the same question if it holds.

        Raises:
            APIException: the token is unknown, or the key cannot be read.
            PathsNotKnown: only PostgreSQL can tell whose the path is.
        """
        self._forget_what_has_changed()
        asker, digest = self._find_asker(headers.get(TOKEN_HEADER, ""))
        request = ForwardedRequest(
            method=check.method, path=check.path, query=check.query_string, headers=headers
        )
        key = request.find_key(asker)
        place = self._place_in_cache(digest, key, headers) if key else None
        if place and (cached := self._cache.get(place)) and cached.good_until > time.monotonic():
            cached.counter.inc()
            return cached.answer
        paths_before = self.memory.paths_looked_up
        checker = self._checker(asker)
        answer = checker.answer_forwarded(request, key)
        self.memory.note_refused(checker.refused)
        status = forward_status(answer)
        encoded = CompleteAnswer(status, [*forward_headers(answer, status).items()], b"")
        if place and paths_before == self.memory.paths_looked_up:
            seconds = self._seconds_to_cache(
                answer, is_source_named=bool(headers.get(SOURCE_HEADER))
            )
            if seconds:
                self._keep(place, asker, answer, encoded, seconds)
        return encoded

    def _checker(self, asker: Asker) -> Checker:
        return Checker(
            asker=asker,
            now=self.memory.now(),
            register_of=self._register_of,
            source_named=self.memory.source_named,
            sign_claim=partial(sign_claim, self.memory.signer),
            stale=self.memory.is_stale,
        )

    def _keep(
        self,
        place: bytes,
        asker: Asker,
        answer: CheckAnswer,
        encoded: CompleteAnswer,
        seconds: float,
    ) -> None:
        """Keep an answer for the same question. Where there are too many, the oldest go."""
        if len(self._cache) >= MAX_CACHED_ANSWERS:
            for oldest in list(islice(self._cache, MAX_CACHED_ANSWERS // 10)):
                del self._cache[oldest]
        code = answer.would_be or answer.code
        self._cache[place] = CachedAnswer(
            encoded, time.monotonic() + seconds, check_counter(asker.name, code)
        )

    def _forget_what_has_changed(self) -> None:
        if self._cached_generation != self.memory.generation or self.memory.is_stale:
            self._cached_generation = self.memory.generation
            self._cache.clear()
            self._digests.clear()

    def _hash(self, text: str) -> bytes:
        return blake2b(
            text.encode(errors="surrogatepass"), key=self._hash_key, digest_size=HASH_BYTES
        ).digest()

    def _place_in_cache(self, digest: UUID, key: str, headers: Mapping[str, str]) -> bytes:
        """Return what the answer depends on. No header contains a NUL."""
        return self._hash(f"{digest.int}\0{headers.get(SOURCE_HEADER, '')}\0{key.strip()}")

    def _seconds_to_cache(self, answer: CheckAnswer, *, is_source_named: bool) -> float:
        """Return how long the answer holds: 0 if it has a receipt of its own, or may be old."""
        if answer.check is not None or answer.stale:
            return 0.0
        # When a former name of a source ends is in no answer.
        is_brief = answer.quota or is_source_named
        if is_brief:
            seconds = BRIEF_CACHE_SECONDS
        else:
            seconds = CLAIM_CACHE_SECONDS if answer.claim else ANSWER_CACHE_SECONDS
        if answer.valid_until is None:
            return seconds
        left = (answer.valid_until - self.memory.now()).total_seconds()
        return max(0.0, min(seconds, left))

    def _find_asker(self, token: str) -> tuple[Asker, UUID]:
        """Return who asks by a token, and its digest. Raises AuthenticationFailed."""
        if not token:
            message = "Send the gateway's token as X-Revcred-Token."
            raise AuthenticationFailed(message, code="not_authenticated")
        hashed = self._hash(token)
        digest = self._digests.get(hashed)
        if digest is None and is_well_formed_gateway_token(token):
            digest = gateway_token_digest(token)
        if digest and (asker := self.memory.asker(digest)):
            self._digests[hashed] = digest
            return asker, digest
        raise AuthenticationFailed("This token is unknown or revoked.", code="unknown_token")

    def _register_of(self, calls: Sequence[CallAhead]) -> Register:
        self.memory.check_paths({call.path for call in calls if call.path and not call.source})
        return self.memory

    async def _sources_of_paths(self, paths: Collection[str]) -> Mapping[str, str | None]:
        """Return the sources of the paths, or nothing if PostgreSQL cannot tell in time."""

        def ask() -> Mapping[str, str | None]:
            close_old_connections()
            with database_deadline(PATHS_SECONDS):
                return loading.sources_of_paths(paths)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, ask)
        except (DatabaseError, InterfaceError):
            return {}
