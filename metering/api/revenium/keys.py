"""What gateways and clients ask: is this key, or this subscription, good for a call now?"""

import time
from functools import lru_cache
from http import HTTPStatus

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from metering.api.authentication import LONGEST_WAIT, admission_of
from metering.api.decoding import Refused
from metering.api.doors import Answer, Doorway
from metering.api.revenium import fields
from metering.api.revenium.dialect import ReveniumManner, marks_of
from metering.api.revenium.records import ERROR, Invalid
from metering.attribution.judging import would_be
from metering.models import Reason
from revcred.models import Gateway
from revcred.postgresql import patience

GOOD = {None, Reason.AMBIGUOUS}
FRESH = 1.0  # seconds that an answer is believed
MOST_KEPT = 10_000
ERRORS = dict.fromkeys((400, 401, 403, 503), ERROR)
VALIDITY = {"type": "object", "properties": {"valid": {"type": "boolean"}}}


class ProductKey(Doorway):
    """Gateways ask this on the way of a request: one statement answers it, once a second."""

    manner = ReveniumManner()

    @extend_schema(
        operation_id="revenium_v1_product_key",
        summary="Whether a key or a subscription is good for a call now",
        tags=["Revenium: metering v1"],
        parameters=[
            OpenApiParameter("application", description="A key or alias."),
            OpenApiParameter("productKey", description="A subscription's external key."),
        ],
        responses={200: VALIDITY, 404: ERROR, **ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        asked = request.query_params
        with patience(LONGEST_WAIT):
            is_good = _is_good(
                admission_of(request).gateway, asked.get("application"), asked.get("productKey")
            )
        if not is_good:
            raise NotFound("It is unknown, or not good for a call now.")
        return self.respond(Answer(HTTPStatus.OK, {"valid": True}))


class ResolveKey(Doorway):
    """Any gateway's token that may post is good."""

    manner = ReveniumManner()

    @extend_schema(
        operation_id="revenium_resolve_key",
        summary="Whether this token is good",
        tags=["Revenium: metering v2"],
        responses={200: VALIDITY, **ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        return self.respond(Answer(HTTPStatus.OK, {"valid": True}))


def _is_good(gateway: Gateway, key: str | None, subscription: str | None) -> bool:
    """Raises Invalid."""
    try:
        marks = marks_of("application", key)
        named = fields.text("productKey", subscription)
    except Refused as refused:
        raise Invalid(refused) from refused
    fingerprint = marks["key"].fingerprint if marks else None
    return _asked_lately(gateway, fingerprint, named, int(time.monotonic() / FRESH))


@lru_cache(MOST_KEPT)
def _asked_lately(
    gateway: Gateway, fingerprint: str | None, subscription: str | None, second: int
) -> bool:
    """What was true a second ago is true enough: active gateways ask before every call."""
    reason = would_be(gateway, fingerprint=fingerprint, subscription_named=subscription)
    return reason in GOOD
