"""Doors: the views that gateways post to, each for one dialect."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from metering.api import bodies
from metering.api.authentication import Admission, GatewayAuthentication, MayPost, admission_of
from metering.api.dialects import Answer, AnswerStyle, Dialect
from metering.api.documentation import DoorSchema
from metering.api.pipeline import Intake, run_intake
from revcred.api.errors import DatabaseUnavailable


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
    admission: Admission | None = None  # once it has shown a valid token
    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayPost,)
    content_negotiation_class = IgnoreAcceptHeader
    metadata_class = None  # OPTIONS would tell of our classes

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
        encoded = self.answer_style.encode(
            answer,
            headers=self.request.headers,
            gateway=self.admission.gateway if self.admission else None,
        )
        headers = dict(encoded.headers)
        response = HttpResponse(encoded.body, status=encoded.status, headers=headers)
        if "Content-Type" not in headers:
            # Django sets a type even where there is no content that could have one.
            del response["Content-Type"]
        return response


class WebPost:
    """A POST that the web server received."""

    def __init__(self, request: HttpRequest) -> None:
        self.path = request.path
        self.headers: Mapping[str, str] = request.headers
        self._request = request
        self._body: bytes | None = None

    def raw_body(self) -> bytes:
        """Return the body as it was sent. Raises MalformedRequest, BodyTooLarge."""
        # A request's body can be read once, and a token may be looked for in it.
        if self._body is None:
            self._body = bodies.read_raw_body(self._request)
        return self._body


class Door(GatewayView):
    """The view of one dialect: `Door.as_view(dialect=…)`."""

    dialect: Dialect | None = None
    schema = DoorSchema()

    def dispatch(self, request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:
        """Handle a POST without REST framework's own steps, which would double its time."""
        if request.method != "POST" or self.dialect is None:
            return super().dispatch(request, *args, **named)
        self.request = request  # type: ignore[assignment]
        intake = Intake(WebPost(request), self.dialect)
        try:
            answer = run_intake(intake)
        except APIException as error:
            answer = self.dialect.answer_error(error, request.path)
        except (OperationalError, InterfaceError):
            answer = self.dialect.answer_error(DatabaseUnavailable(), request.path)
        self.admission = intake.admission
        return self.respond(answer)

    def post(self, request: Request) -> HttpResponse:
        """Exist for the OpenAPI page alone, which lists the methods that a view has.

        `dispatch` handles every POST before REST framework would look for this method.
        """
        raise NotImplementedError

    @property
    def answer_style(self) -> AnswerStyle:  # type: ignore[override]
        return self.dialect or AnswerStyle()
