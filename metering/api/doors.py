"""Doors: each knows the gateway, reads the body, stores its calls and answers.

A dialect says what a body means and how its answer looks. `docs/gateways.md` tells how to add one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from metering import provisioning
from metering.api import bodies
from metering.api.authentication import (
    DATABASE_DEADLINE_SECONDS,
    Admission,
    GatewayAuthentication,
    MayPost,
    admission_of,
    require_admission,
    token_from_headers,
)
from metering.api.backlog import backlog
from metering.api.documentation import DoorDocumentation, DoorSchema
from metering.api.errors import DatabaseUnavailable, error_answer
from metering.inbox import rejections
from metering.inbox.calls import Call
from metering.inbox.intake import accept_calls
from metering.inbox.redaction import WithheldSecrets
from metering.inbox.rejections import RejectedItem
from metering.pairing.partial_transactions import PartialSide, accept_partial
from revcred.models import Gateway
from revcred.postgresql import database_deadline

# A post answered with one of these would be rejected again however often it is sent, so that the
# gateway's operator has to learn of it. Others (401, 429, 503) go away by themselves or by a token.
REJECTION_STATUSES = {400, 409, 413, 415}


@dataclass(frozen=True, kw_only=True)
class GatewayPost:
    """A request as a dialect reads it: the body inflated, the time by the database's clock."""

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
    rejected: Sequence[Any] = ()
    passed_over: int = 0  # log records that are no calls
    side: PartialSide | None = None
    first_at: datetime | None = None  # the first one's moment, if this is known to be a repeat


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. Its `body` is sent as JSON, bytes as they are, and None as no body at all."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


def rejection_from_error(error: APIException) -> RejectedItem:
    """Return an error as a rejected item: one call, or a body that cannot be split into items."""
    _, code_and_message, _ = error_answer(error)
    # Errors of single items carry these; an error of the whole body has none of them.
    where = {name: getattr(error, name, None) for name in ("index", "transaction_id", "field")}
    rejected = RejectedItem(where | code_and_message)
    rejected.key = getattr(error, "key", None)
    return rejected


def record_body_rejection(
    gateway_id: int, address: str, error: APIException, withheld: WithheldSecrets
) -> None:
    """Store the reason why a whole body was rejected, so that the gateway's page can show it.

    There is no delivery that would count it among the rejected items: hence `uncounted=1`.
    """
    rejections.record_rejections(
        gateway_id, address, [rejection_from_error(error)], withheld=withheld, uncounted=1
    )


class AnswerStyle:
    """Shape of errors and headers that a family of clients expects."""

    def answer_error(self, error: APIException, path: str) -> Answer:
        """Return the answer to a post that failed; `path` is the one it was sent to."""
        return Answer(*error_answer(error))

    def gateway_headers(self, gateway: Gateway) -> Mapping[str, str]:
        """Return headers of every answer to a gateway that has shown a valid token."""
        return {}


class Dialect(AnswerStyle, ABC):
    """A format of posted bodies together with the answers that its senders expect.

    A dialect knows nothing of Django's requests, and reports errors by raising an APIException.
    """

    # A dialect has no state of a request: one instance serves all threads.
    documented: DoorDocumentation

    @abstractmethod
    def read(self, post: GatewayPost) -> ParsedBody:
        """Return the calls in a post, each with its key in clear. Raises APIException."""

    @abstractmethod
    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        """Return the answer to a post whose calls are committed."""

    def process(self, post: GatewayPost) -> Answer:
        """Read a post, store its calls and return the answer.

        Raises:
            APIException: the post is rejected as a whole.
            django.db.OperationalError: the database is not available; nothing is stored.
        """
        # Provisioning comes first: its customers and subscriptions have to be committed before a
        # worker can see the calls that name them.
        reading = self.read(post)
        provisioning.provision_named_in_calls(reading.calls, post.withheld)
        return self.answer(post, reading, self.store(post, reading))

    def store(self, post: GatewayPost, reading: ParsedBody) -> UUID:
        """Commit the calls and return the id of their delivery. Raises OperationalError."""
        # A partial transaction waits for its other part, and reaches the inbox only with it.
        if reading.side:
            (half,) = reading.calls
            kept = accept_partial(post.gateway, half, reading.side, withheld=post.withheld)
            reading.first_at = kept.first_at
            return kept.dedup_key
        delivery = accept_calls(
            post.gateway,
            reading.calls,
            withheld=post.withheld,
            rejected=len(reading.rejected),
            passed_over=reading.passed_over,
        )
        rejections.record_rejections(
            post.gateway.pk, post.path, reading.rejected, withheld=post.withheld
        )
        backlog.add(post.gateway.pk, len(reading.calls))
        return delivery


class IgnoreAcceptHeader(BaseContentNegotiation):
    """Content negotiation that ignores `Accept`: old clients send odd values in it."""

    def select_parser(self, request: Request, parsers: Any) -> None:
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: Any = None
    ) -> tuple[BaseRenderer, str]:
        # 406 would help nobody: the call has been made, and has to be counted.
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class GatewayView(APIView):
    """A view for gateways alone, which answers in the style that their clients expect."""

    answer_style = AnswerStyle()
    admission: Admission | None = None
    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayPost,)
    content_negotiation_class = IgnoreAcceptHeader

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        self.admission = admission_of(request)

    # Every error is answered in the style of the clients, also a failed authentication.
    def handle_exception(self, error: Exception) -> HttpResponse:  # type: ignore[override]
        # A database that is away is no fault of the request: 503 tells a gateway to send it again,
        # where 500 might not.
        if isinstance(error, OperationalError | InterfaceError):
            error = DatabaseUnavailable()
        if not isinstance(error, APIException):
            return super().handle_exception(error)
        return self.respond(self.answer_style.answer_error(error, self.request.path))

    def respond(self, answer: Answer) -> HttpResponse:
        headers = (
            self.answer_style.gateway_headers(self.admission.gateway) if self.admission else {}
        )
        return _to_http_response(answer, headers)


class Door(GatewayView):
    """The view of one dialect: `Door.as_view(dialect=…)`."""

    dialect: Dialect | None = None
    token = ""
    schema = DoorSchema()

    def dispatch(self, request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:
        """Handle a POST without REST framework's own steps, which would double its time."""
        if request.method != "POST":
            return super().dispatch(request, *args, **named)
        self.request = request  # type: ignore[assignment]
        try:
            return self.respond(self._process(request))
        except APIException as error:
            self._record_reason(error)
            return self.respond(self.answer_style.answer_error(error, request.path))
        except (OperationalError, InterfaceError):
            return self.respond(self.answer_style.answer_error(DatabaseUnavailable(), request.path))

    def post(self, request: Request) -> HttpResponse:
        """Exist for the OpenAPI page alone, which lists the methods that a view has.

        `dispatch` handles every POST before REST framework would look for this method.
        """
        raise NotImplementedError

    def _process(self, request: HttpRequest) -> Answer:
        assert self.dialect is not None
        # The cheap checks first: nothing of the body is read for a gateway that may not post.
        self.admission = self.admit(request)
        MayPost.check(self.admission)
        backlog.check(self.admission.gateway.pk)
        post = GatewayPost(
            gateway=self.admission.gateway,
            path=request.path,
            headers=request.headers,
            body=self.body_of(request),
            now=self.admission.now(),
            token=self.token,
        )
        with database_deadline(DATABASE_DEADLINE_SECONDS):
            return self.dialect.process(post)

    def _record_reason(self, error: APIException) -> None:
        """Store the reason of a rejected post for the gateway's operator."""
        if self.admission is None or error.status_code not in REJECTION_STATUSES:
            return
        with database_deadline(DATABASE_DEADLINE_SECONDS):
            record_body_rejection(
                self.admission.gateway.pk, self.request.path, error, WithheldSecrets(self.token)
            )

    def admit(self, request: HttpRequest) -> Admission:
        """Return the admission of the gateway that posts. Raises APIException."""
        self.token = token_from_headers(request.headers)
        return require_admission("", self.token)

    def body_of(self, request: HttpRequest) -> bytes:
        """Return the inflated body. Raises MalformedRequest, BodyTooLarge, UnknownEncoding."""
        return bodies.read_body(request)

    @property
    def answer_style(self) -> AnswerStyle:  # type: ignore[override]
        return self.dialect or AnswerStyle()


def _to_http_response(answer: Answer, headers: Mapping[str, str]) -> HttpResponse:
    all_headers = {**headers, **answer.headers}
    if answer.body is None:
        response = HttpResponse(status=answer.status, headers=all_headers)
        # Django sets a type even where there is no content that could have one.
        del response["Content-Type"]
        return response
    body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
    return HttpResponse(
        body, status=answer.status, headers=all_headers, content_type=answer.content_type
    )
