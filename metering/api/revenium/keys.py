"""What gateways and clients ask: is this key, or this subscription, good for a call now?"""

import time
from functools import lru_cache
from http import HTTPStatus

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from metering.api.authentication import DATABASE_DEADLINE_SECONDS, admission_of
from metering.api.decoding import ItemRejected
from metering.api.doors import Answer, GatewayView
from metering.api.revenium import fields
from metering.api.revenium.dialect import ReveniumAnswerStyle, key_fields_of
from metering.api.revenium.records import ERROR_RECORD_SCHEMA, InvalidField
from metering.attribution.judging import reason_if_called_now
from metering.models import QuarantineReason
from revcred.models import Gateway
from revcred.postgresql import database_deadline

GOOD_REASONS = {None, QuarantineReason.AMBIGUOUS}
KEY_CHECK_CACHE_SECONDS = 1.0  # seconds that an answer is believed
MAX_CACHED_KEY_CHECKS = 10_000
KEY_CHECK_ERRORS = dict.fromkeys((400, 401, 403, 503), ERROR_RECORD_SCHEMA)
VALIDITY_SCHEMA = {"type": "object", "properties": {"valid": {"type": "boolean"}}}


class ProductKeyView(GatewayView):
    """Gateways ask this on the way of a request: one statement answers it, once a second."""

    answer_style = ReveniumAnswerStyle()

    @extend_schema(
        operation_id="revenium_v1_product_key",
        summary="Whether a key or a subscription is good for a call now",
        tags=["Revenium: metering v1"],
        parameters=[
            OpenApiParameter("application", description="A key or alias."),
            OpenApiParameter("productKey", description="A subscription's external key."),
        ],
        responses={200: VALIDITY_SCHEMA, 404: ERROR_RECORD_SCHEMA, **KEY_CHECK_ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        asked = request.query_params
        with database_deadline(DATABASE_DEADLINE_SECONDS):
            is_good = _is_good_for_call(
                admission_of(request).gateway, asked.get("application"), asked.get("productKey")
            )
        if not is_good:
            raise NotFound("It is unknown, or not good for a call now.")
        return self.respond(Answer(HTTPStatus.OK, {"valid": True}))


class ResolveKeyView(GatewayView):
    """Any gateway's token that may post is good."""

    answer_style = ReveniumAnswerStyle()

    @extend_schema(
        operation_id="revenium_resolve_key",
        summary="Whether this token is good",
        tags=["Revenium: metering v2"],
        responses={200: VALIDITY_SCHEMA, **KEY_CHECK_ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        return self.respond(Answer(HTTPStatus.OK, {"valid": True}))


def _is_good_for_call(gateway: Gateway, key: str | None, subscription: str | None) -> bool:
    """Raises InvalidField."""
    try:
        marks = key_fields_of("application", key)
        named = fields.parse_text("productKey", subscription)
    except ItemRejected as rejection:
        raise InvalidField(rejection) from rejection
    fingerprint = marks["key"].fingerprint if marks else None
    return _cached_key_check(
        gateway, fingerprint, named, int(time.monotonic() / KEY_CHECK_CACHE_SECONDS)
    )


@lru_cache(MAX_CACHED_KEY_CHECKS)
def _cached_key_check(
    gateway: Gateway, fingerprint: str | None, subscription: str | None, second: int
) -> bool:
    """What was true a second ago is true enough: active gateways ask before every call."""
    reason = reason_if_called_now(gateway, fingerprint=fingerprint, subscription_named=subscription)
    return reason in GOOD_REASONS
