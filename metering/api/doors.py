"""What every door does: know the gateway, read the body, keep its calls, answer.

A dialect says what a body means and how the answer looks. How to add one: `docs/gateways.md`.
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

# Statuses of what would be rejected again, however often it is sent.
REJECTION_STATUSES = {400, 409, 413, 415}


@dataclass(frozen=True, kw_only=True)
class GatewayPost:
    """What a gateway posted: the body inflated, the moment by the database's clock."""

    gateway: Gateway
    path: str
    headers: Mapping[str, str]  # asked for by names in lower case
    body: bytes
    now: datetime
    token: str

    @property
    def withheld(self) -> WithheldSecrets:
        """What no stored text of the calls in it may have."""
        return WithheldSecrets(self.token)

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass
class ParsedBody:
    """The calls in a body, and why each of the others is not taken, in the dialect's own shape.

    With a side, the only call in it is half a call, of which the other half comes by itself.
    """

    calls: Sequence[Call]
    rejected: Sequence[Any] = ()
    passed_over: int = 0  # records that are no calls
    side: PartialSide | None = None
    first_at: datetime | None = None  # when it happened, if it is known by now to have come before


@dataclass(frozen=True)
class Answer:
    """`body` goes out as JSON, bytes as they are, None as nothing at all."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


def rejection_from_error(error: APIException) -> RejectedItem:
    """Why what was posted is not taken: one call, or all of a body that cannot be told apart."""
    _, said, _ = error_answer(error)
    where = {name: getattr(error, name, None) for name in ("index", "transaction_id", "field")}
    rejected = RejectedItem(where | said)
    rejected.key = getattr(error, "key", None)
    return rejected


def record_body_rejection(
    gateway_id: int, address: str, error: APIException, withheld: WithheldSecrets
) -> None:
    """Keep why nothing of a body was taken, which no delivery tells of."""
    rejections.record_rejections(
        gateway_id, address, [rejection_from_error(error)], withheld=withheld, uncounted=1
    )


class AnswerStyle:
    """How somebody wants to be spoken to."""

    def refuse(self, error: APIException, path: str) -> Answer:
        return Answer(*error_answer(error))

    def headers(self, gateway: Gateway) -> Mapping[str, str]:
        """On every answer to a gateway that is known."""
        return {}


class Dialect(AnswerStyle, ABC):
    """One kind of body that is posted, and how its sender wants to be answered.

    Both know nothing of Django's requests. What is wrong is said by raising an APIException.
    """

    documented: DoorDocumentation

    @abstractmethod
    def read(self, post: GatewayPost) -> ParsedBody:
        """The calls that are meant, each with its key. Raises APIException."""

    @abstractmethod
    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        """Once all of it is safe."""

    def take(self, post: GatewayPost) -> Answer:
        """Raises APIException, django.db.OperationalError."""
        reading = self.read(post)
        provisioning.provision_named_in_calls(reading.calls, post.withheld)
        return self.answer(post, reading, self.keep(post, reading))

    def keep(self, post: GatewayPost, reading: ParsedBody) -> UUID:
        if reading.side:
            (half,) = reading.calls
            kept = accept_partial(post.gateway, half, reading.side, withheld=post.withheld)
            reading.first_at = kept.first_at
            return kept.identity
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
    """A door has one way to answer, and old clients ask for the oddest ones."""

    def select_parser(self, request: Request, parsers: Any) -> None:
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: Any = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class GatewayView(APIView):
    """Only gateways come through, and all of them are answered in their manner."""

    manner = AnswerStyle()
    admission: Admission | None = None
    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayPost,)
    content_negotiation_class = IgnoreAcceptHeader

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        self.admission = admission_of(request)

    def handle_exception(self, error: Exception) -> HttpResponse:  # type: ignore[override]
        if isinstance(error, OperationalError | InterfaceError):
            error = DatabaseUnavailable()
        if not isinstance(error, APIException):
            return super().handle_exception(error)
        return self.respond(self.manner.refuse(error, self.request.path))

    def respond(self, answer: Answer) -> HttpResponse:
        known = self.manner.headers(self.admission.gateway) if self.admission else {}
        return _to_http_response(answer, known)


class Door(GatewayView):
    """Where one dialect is posted: `Door.as_view(dialect=…)`."""

    dialect: Dialect | None = None
    token = ""
    schema = DoorSchema()

    def dispatch(self, request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:
        """Straight through: REST framework's own way costs as much again as all the rest."""
        if request.method != "POST":
            return super().dispatch(request, *args, **named)
        self.request = request  # type: ignore[assignment]
        try:
            return self.respond(self._take(request))
        except APIException as error:
            self._keep_reason(error)
            return self.respond(self.manner.refuse(error, request.path))
        except (OperationalError, InterfaceError):
            return self.respond(self.manner.refuse(DatabaseUnavailable(), request.path))

    def post(self, request: Request) -> HttpResponse:
        """What is posted is dispatched before; this says that something may be."""
        raise NotImplementedError

    def _take(self, request: HttpRequest) -> Answer:
        assert self.dialect is not None
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
            return self.dialect.take(post)

    def _keep_reason(self, error: APIException) -> None:
        """For the gateway's operator: why its sender was told that this was not taken."""
        if self.admission is None or error.status_code not in REJECTION_STATUSES:
            return
        with database_deadline(DATABASE_DEADLINE_SECONDS):
            record_body_rejection(
                self.admission.gateway.pk, self.request.path, error, WithheldSecrets(self.token)
            )

    def admit(self, request: HttpRequest) -> Admission:
        """Raises APIException."""
        self.token = token_from_headers(request.headers)
        return require_admission("", self.token)

    def body_of(self, request: HttpRequest) -> bytes:
        """Raises Malformed, TooLarge, UnknownEncoding."""
        return bodies.read_body(request)

    @property
    def manner(self) -> AnswerStyle:  # type: ignore[override]
        return self.dialect or AnswerStyle()


def _to_http_response(answer: Answer, headers: Mapping[str, str]) -> HttpResponse:
    said = {**headers, **answer.headers}
    if answer.body is None:
        response = HttpResponse(status=answer.status, headers=said)
        del response["Content-Type"]
        return response
    body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
    return HttpResponse(body, status=answer.status, headers=said, content_type=answer.content_type)
