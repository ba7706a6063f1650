"""Addresses that clients of Revenium try and that are not here: told in its manner, never as HTML.

A client that reads 404 as "no such record" goes on with wrong data; 501 says that there is none.
"""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException, NotFound
from rest_framework.response import Response

from metering.api.doors import Answer, GatewayView
from metering.api.revenium.dialect import ReveniumAnswerStyle
from metering.api.revenium.otlp import encode_as_sent


class NotImplementedHere(APIException):
    status_code = HTTPStatus.NOT_IMPLEMENTED
    default_code = "not_implemented"


class Gone(APIException):
    status_code = HTTPStatus.GONE
    default_code = "gone"


class NothingHereView(GatewayView):
    """An address at which there is nothing, whatever method it is asked with."""

    answer_style = ReveniumAnswerStyle()
    schema = None
    http_method_names: list[str] = []  # noqa: RUF012 - as the base class has it

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **named: Any) -> Response:
        raise self.reason()

    def reason(self) -> APIException:
        return NotFound("There is nothing at this address.")


class ManagementApiView(NothingHereView):
    """Revenium's API of customers, products and analytics, of which nothing is here."""

    def reason(self) -> APIException:
        message = "revcred does not have this part of Revenium's API. Meter with /meter/v1 or v2."
        return NotImplementedHere(message)


class OtherSignalsView(NothingHereView):
    """Where OpenTelemetry's other signals go, said to everybody: some send no token in a header."""

    authentication_classes = ()  # type: ignore[assignment]
    permission_classes = ()  # type: ignore[assignment]
    error: type[APIException] = NotImplementedHere
    message = "Traces are not taken. Send usage as log records, to …/otlp/v1/logs."

    def perform_authentication(self, request: Any) -> None:
        pass

    def reason(self) -> APIException:
        return self.error(self.message)

    def respond(self, answer: Answer) -> HttpResponse:
        return super().respond(encode_as_sent(answer, self.request.headers))


class OtlpMetricsView(OtherSignalsView):
    error = Gone
    message = "Metrics are not taken. Send usage as log records, to …/otlp/v1/logs."
