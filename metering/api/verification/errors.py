"""Errors of checks, as JSON or as the status and headers that gateways understand."""

from http import HTTPStatus

import msgspec
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.status import HTTP_503_SERVICE_UNAVAILABLE

from metering.api.dialects import Answer, AnswerStyle
from metering.api.verification.answers import CHALLENGE, HEADERS
from metering.api.verification.questions import InvalidQuestion
from revcred.api.errors import error_answer


class QuestionError(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An error, with the place of the question in an array and its field."""

    code: str
    message: str
    field: str | None = None
    index: int | None = None


class CheckAnswerStyle(AnswerStyle):
    """Errors with the field of a question."""

    def answer_error(self, error: APIException, path: str) -> Answer:
        status, body, headers = error_answer(error)
        problem = QuestionError(code=body.code, message=body.message)
        if isinstance(error, InvalidQuestion):
            problem.field, problem.index = error.field, error.index
        return Answer(status, problem, {**headers, "Cache-Control": "no-store"})


class ForwardAnswerStyle(AnswerStyle):
    """Errors that no gateway takes for a failure of its own: nginx makes 500 of 400 and 404."""

    def answer_error(self, error: APIException, path: str) -> Answer:
        status, body, headers = error_answer(error)
        if isinstance(error, AuthenticationFailed):
            status = HTTPStatus.UNAUTHORIZED
            headers["WWW-Authenticate"] = CHALLENGE
        elif status != HTTP_503_SERVICE_UNAVAILABLE:
            status = HTTPStatus.FORBIDDEN
        names = dict.fromkeys(HEADERS, "") | {"X-Revcred-Code": body.code}
        return Answer(status, None, {**headers, **names, "Cache-Control": "no-store"})
