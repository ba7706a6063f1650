"""Dialects: each says what a posted body means, and how its senders expect to be answered.

`docs/gateways.md` tells how to add one. `metering.api.pipeline` runs it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import msgspec
from rest_framework.exceptions import APIException

from metering import provisioning
from metering.api.authentication import token_from_headers
from metering.api.backlog import backlog
from metering.api.documentation import DoorDocumentation
from metering.inbox import rejections
from metering.inbox.calls import Call
from metering.inbox.intake import Steps, accept_steps
from metering.inbox.redaction import WithheldSecrets
from metering.inbox.rejections import RejectedItem
from metering.pairing.partial_transactions import PartialSide, accept_partial
from metering.trial_calls import keep_trial_calls
from revcred.api.errors import error_answer
from revcred.models import Gateway
from revcred.server.answers import CompleteAnswer


class IncomingPost(Protocol):
    """A POST as it arrives, before anybody knows whose it is."""

    @property
    def path(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Looked up by lower-case names."""
        ...

    def raw_body(self) -> bytes:
        """Return the body as it was sent, also if asked again. Raises APIException."""
        ...


@dataclass(frozen=True, kw_only=True)
class GatewayPost:
    """A POST as a dialect reads it: the body inflated, the time by the database's clock."""

    gateway: Gateway
    path: str
    headers: Mapping[str, str]  # looked up by lower-case names
    body: bytes
    now: datetime
    token: str

    @property
    def withheld(self) -> WithheldSecrets:
        """Secrets that must not stand in any stored text of its calls: the gateway's token."""
        return WithheldSecrets(self.token)

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass
class ParsedBody:
    """Calls that a body holds, and the reasons why its other items are rejected.

    With a `side`, its one call is a partial transaction, whose other part comes in another post.
    """

    calls: Sequence[Call]
    rejected: Sequence[RejectedItem] = ()
    passed_over: int = 0  # log records that are no calls
    side: PartialSide | None = None
    first_at: datetime | None = None  # the first one's moment, if this is known to be a repeat


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. Its `body`, a struct or what JSON has, is sent as JSON.

    Bytes are sent as they are, and None as no body at all.
    """

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class AnswerStyle:
    """Shape of errors and headers that a family of clients expects."""

    def answer_error(self, error: APIException, path: str) -> Answer:
        """Return the answer to a post that failed; `path` is the one it was sent to."""
        return Answer(*error_answer(error))

    def gateway_headers(self, gateway: Gateway) -> Mapping[str, str]:
        """Return headers of every answer to a gateway that has shown a valid token."""
        return {}

    def encode_for(self, headers: Mapping[str, str], answer: Answer) -> Answer:
        """Return the answer in the encoding that a request with these headers expects."""
        return answer

    def encode(
        self, answer: Answer, *, headers: Mapping[str, str], gateway: Gateway | None
    ) -> CompleteAnswer:
        """Return what is sent. `headers`: the request's; `gateway`: if it showed a valid token."""
        answer = self.encode_for(headers, answer)
        all_headers = {**(self.gateway_headers(gateway) if gateway else {}), **answer.headers}
        if answer.body is None:
            return CompleteAnswer(answer.status, [*all_headers.items()], b"")
        body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
        all_headers = {"Content-Type": answer.content_type, **all_headers}
        return CompleteAnswer(answer.status, [*all_headers.items()], body)


class Dialect(AnswerStyle, ABC):
    """A format of posted bodies together with the answers that its senders expect.

    A dialect knows nothing of Django's requests, and reports errors by raising an APIException.
    """

    # A dialect has no state of a request: one instance serves all threads.
    documented: DoorDocumentation
    # Of one item by itself, as a rejected one is tried again.
    item_media_type = "application/json"

    def token_of(self, incoming: IncomingPost) -> str:
        """Return the token that a POST carries, or an empty string. Raises APIException."""
        return token_from_headers(incoming.headers)

    @abstractmethod
    def read(self, post: GatewayPost) -> ParsedBody:
        """Return the calls in a post, each with its key in clear. Raises APIException."""

    @abstractmethod
    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        """Return the answer to a post whose calls are committed."""

    def process(self, post: GatewayPost) -> Steps[Answer]:
        """Read a post, store its calls and return the answer.

        Raises:
            APIException: the post is rejected as a whole.
            django.db.DatabaseError: the outcome is unknown; sending the POST again is safe.
        """
        reading: ParsedBody = yield partial(self.read, post)
        # Provisioning comes first: its customers and subscriptions have to be committed before a
        # worker can see the calls that name them.
        yield partial(provisioning.provision_named_in_calls, reading.calls, post.withheld)
        delivery = yield from self.commit_calls(post, reading)
        return self.answer(post, reading, delivery)

    def rehearse(self, post: GatewayPost, token_id: int) -> Steps[Answer]:
        """Judge the calls of a post with a test token, and answer as if they had been stored.

        Raises:
            APIException: the post is rejected as a whole.
        """
        reading: ParsedBody = yield partial(self.read, post)
        first: UUID = yield partial(
            keep_trial_calls,
            *(post.gateway, token_id, reading.calls, reading.rejected),
            withheld=post.withheld,
            at=post.now,
        )
        return self.answer(post, reading, first)

    def commit_calls(self, post: GatewayPost, reading: ParsedBody) -> Steps[UUID]:
        """Commit the calls and return the id of their delivery. Raises DatabaseError.

        Of a partial transaction, which has no delivery yet, return the deduplication key.
        """
        # A partial transaction waits for its other part, and reaches the inbox only with it.
        if reading.side:
            (part,) = reading.calls
            kept = yield partial(
                accept_partial, post.gateway, part, reading.side, withheld=post.withheld
            )
            reading.first_at = kept.first_at
            dedup_key: UUID = kept.dedup_key
            return dedup_key
        delivery = yield from accept_steps(
            post.gateway,
            reading.calls,
            withheld=post.withheld,
            rejected=len(reading.rejected),
            passed_over=reading.passed_over,
        )
        backlog.add(post.gateway.pk, len(reading.calls))
        # Once the calls are safe. If it fails, the answer stays the same.
        if reading.rejected:
            yield partial(
                rejections.record_rejections,
                *(post.gateway.pk, post.path, reading.rejected),
                withheld=post.withheld,
            )
        return delivery
