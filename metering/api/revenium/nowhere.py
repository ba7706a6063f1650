"""Addresses of Revenium that revcred does not have, answered as Revenium would, never as HTML.

A client may take 404 for "no such record" and go on with wrong data; 501 tells that the whole API
is missing.
"""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest
from rest_framework.exceptions import APIException, NotFound
from rest_framework.response import Response

from metering.api.doors import GatewayView
from metering.api.revenium.dialect import ReveniumAnswerStyle
from metering.api.revenium.otlp import OtlpAnswerStyle


class NotImplementedHere(APIException):
    """A part of Revenium's API that revcred does not have."""

    status_code = HTTPStatus.NOT_IMPLEMENTED
    default_code = "not_implemented"


class Gone(APIException):
    """An address of Revenium's API that is answered with 410."""

    status_code = HTTPStatus.GONE
    default_code = "gone"


class NothingHereView(GatewayView):
    """A view that answers every method with the same error."""

    answer_style = ReveniumAnswerStyle()
    schema = None
    # No method is allowed, so that each of them gets to `http_method_not_allowed`.
    http_method_names: list[str] = []  # noqa: RUF012 - as the base class has it

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **named: Any) -> Response:
        # Authentication comes before: without a valid token the answer is 401, as everywhere.
        raise self.reason()

    def reason(self) -> APIException:
        return NotFound("There is nothing at this address.")


class ManagementApiView(NothingHereView):
    """The error for Revenium's API of customers, products and analytics."""

    def reason(self) -> APIException:
        message = "revcred does not have this part of Revenium's API. Meter with /meter/v1 or v2."
        return NotImplementedHere(message)


class OtlpMetricsView(NothingHereView):
    """The error for OpenTelemetry's metrics.

    It is answered to everybody without a token, since some exporters have theirs in the body.
    """

    answer_style = OtlpAnswerStyle()
    authentication_classes = ()  # type: ignore[assignment]
    permission_classes = ()  # type: ignore[assignment]

    def perform_authentication(self, request: Any) -> None:
        pass

    def reason(self) -> APIException:
        return Gone(
            "Metrics are not accepted. Send usage as log records, to …/otlp/v1/logs, or as spans."
        )
