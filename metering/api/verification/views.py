"""Checks as Django's views, which ask the database. The event loop answers them from memory."""

from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from metering.api import bodies
from metering.api.authentication import (
    DATABASE_DEADLINE_SECONDS,
    TOKEN_HEADER,
    Admission,
    admission_of,
    require_admission,
)
from metering.api.dialects import Answer
from metering.api.documentation import COMMON_ERROR_SCHEMAS
from metering.api.doors import GatewayView
from metering.api.verification.answering import Checker, ForwardedRequest, sign_claim
from metering.api.verification.answers import (
    CheckAnswer,
    forward_headers,
    forward_status,
)
from metering.api.verification.errors import (
    CheckAnswerStyle,
    ForwardAnswerStyle,
    QuestionError,
)
from metering.api.verification.questions import MAX_QUESTIONS, CheckQuestion
from metering.verification.askers import Asker
from metering.verification.loading import LoadedRegister, source_named
from metering.verification.refused_calls import record_refused
from metering.verification.signed_claims import ClaimSigner
from revcred.api.errors import DatabaseUnavailable
from revcred.api.schema import RequiredBodySchema, json_schema_of
from revcred.postgresql import database_deadline
from revcred.signing import KEYS_CACHE_SECONDS, published_keys, usable_keys

CHECK_TAGS = ["Checks"]
QUESTION = json_schema_of(CheckQuestion)
ANSWER = json_schema_of(CheckAnswer)
ERROR = json_schema_of(QuestionError)


def database_checker(admission: Admission) -> Checker:
    """Return a checker that looks everything up in the database."""
    now = admission.now()
    return Checker(
        asker=Asker.of(
            admission.gateway, admission.scopes, is_test=admission.test_token is not None
        ),
        now=now,
        register_of=lambda calls: LoadedRegister(calls, now),
        source_named=source_named,
        sign_claim=lambda asker, answer, at: sign_claim(
            ClaimSigner(usable_keys(at)), asker, answer, at
        ),
    )


class VerifyView(GatewayView):
    """Check of one call, or of up to MAX_QUESTIONS."""

    answer_style = CheckAnswerStyle()
    permission_classes = ()  # type: ignore[assignment]  # the checker asks for its scopes
    schema = RequiredBodySchema()

    @extend_schema(
        operation_id="verify_calls",
        summary="Ask whether a call may be let through",
        description=(
            "Answers 200 whether the call is allowed or not. Asks for one call, or for an array of"
            f" up to {MAX_QUESTIONS:,}. The check does not count the call: report it as usual."
        ),
        tags=CHECK_TAGS,
        request={
            "application/json": {
                "oneOf": [
                    QUESTION,
                    {
                        "type": "array",
                        "items": QUESTION,
                        "minItems": 1,
                        "maxItems": MAX_QUESTIONS,
                    },
                ]
            }
        },
        responses={
            200: {"oneOf": [ANSWER, {"type": "array", "items": ANSWER}]},
            **COMMON_ERROR_SCHEMAS,
            400: ERROR,
            413: ERROR,
            415: ERROR,
        },
        examples=[
            OpenApiExample(
                "By a caller's key",
                value={"key": "the-callers-own-key", "source": "maps", "method": "GET"},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        with database_deadline(DATABASE_DEADLINE_SECONDS):
            checker = database_checker(admission_of(request))
            answers = checker.answer_questions(bodies.read_body(request._request))
            record_refused(checker.refused)
        return self.respond(Answer(200, answers, {"Cache-Control": "no-store"}))


class ForwardAuthView(GatewayView):
    """Check of the call whose headers a gateway passes on, for forward authentication."""

    answer_style = ForwardAnswerStyle()

    def dispatch(self, request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:
        """Answer any method: gateways pass on that of the call."""
        self.request = request  # type: ignore[assignment]
        try:
            with database_deadline(DATABASE_DEADLINE_SECONDS):
                answer = self._answer(request)
        except APIException as error:
            answer = self.answer_style.answer_error(error, request.path)
        except (OperationalError, InterfaceError):
            answer = self.answer_style.answer_error(DatabaseUnavailable(), request.path)
        return self.respond(answer)

    def _answer(self, request: HttpRequest) -> Answer:
        admission = require_admission("", request.headers.get(TOKEN_HEADER, ""))
        checker = database_checker(admission)
        forwarded = ForwardedRequest(
            method=request.method or "",
            path=request.path,
            query=request.META.get("QUERY_STRING", ""),
            headers=request.headers,
        )
        answer = checker.answer_forwarded(forwarded, forwarded.find_key(checker.asker))
        record_refused(checker.refused)
        status = forward_status(answer)
        return Answer(status, None, forward_headers(answer, status))

    @extend_schema(
        operation_id="forward_auth",
        summary="Ask so for forward authentication",
        description=(
            "For nginx `auth_request`, Caddy `forward_auth`, Traefik `forwardAuth`, HAProxy and"
            " Envoy `ext_authz`. Any method, and any path below it. The gateway shows its token as"
            " `X-Revcred-Token`; the call's own headers are passed on. The body is empty, and all"
            " headers `X-Revcred-…` are always sent."
        ),
        tags=CHECK_TAGS,
        auth=[],
        parameters=[
            OpenApiParameter("X-Revcred-Token", location="header", required=True),
            OpenApiParameter("X-Revcred-Source", location="header"),
            OpenApiParameter("X-Original-URI", location="header"),
            OpenApiParameter("X-Original-Method", location="header"),
        ],
        responses={
            (200, "text/plain"): None,
            **{(status, "text/plain"): None for status in (401, 403, 429, 503)},
        },
    )
    def get(self, request: Request) -> HttpResponse:
        """Exist for the OpenAPI page alone, which lists the methods that a view has."""
        raise NotImplementedError


@require_safe
def signing_keys_view(request: HttpRequest) -> HttpResponse:
    """Return the public keys of claims, as a JWK Set (RFC 7517), to whoever asks."""
    answer = JsonResponse({"keys": published_keys(timezone.now())})
    answer["Cache-Control"] = f"public, max-age={KEYS_CACHE_SECONDS}"
    return answer
