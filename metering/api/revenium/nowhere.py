"""Addresses that clients of Revenium try and that are not here: told in its manner, never as HTML.

A client that reads 404 as "no such record" goes on with wrong data; 501 says that there is none.
"""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException, NotFound
from rest_framework.response import Response

from metering.api.doors import Answer, Doorway
from metering.api.revenium.dialect import ReveniumManner
from metering.api.revenium.otlp import as_asked


class NotImplementedHere(APIException):
    status_code = HTTPStatus.NOT_IMPLEMENTED
    default_code = "not_implemented"


class Gone(APIException):
    status_code = HTTPStatus.GONE
    default_code = "gone"


class Nowhere(Doorway):
    """An address at which there is nothing, whatever method it is asked with."""

    manner = ReveniumManner()
    schema = None
    http_method_names: list[str] = []  # noqa: RUF012 - as the base class has it

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **named: Any) -> Response:
        raise self.reason()

    def reason(self) -> APIException:
        return NotFound("There is nothing at this address.")


class ManagementApi(Nowhere):
    """Revenium's API of customers, products and analytics, of which nothing is here."""

    def reason(self) -> APIException:
        message = "revcred does not have this part of Revenium's API. Meter with /meter/v1 or v2."
        return NotImplementedHere(message)


class OtherSignals(Nowhere):
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
        return super().respond(as_asked(answer, self.request.headers))


class Metrics(OtherSignals):
    error = Gone
    message = "Metrics are not taken. Send usage as log records, to …/otlp/v1/logs."
