"""Checks that gateways and clients ask for before a call: of a key, a subscription or a token."""

from http import HTTPStatus
from threading import Lock
from uuid import UUID

import msgspec
from cachetools import TTLCache, cached
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from metering.api.authentication import DATABASE_DEADLINE_SECONDS, admission_of
from metering.api.decoding import ItemRejected
from metering.api.dialects import Answer
from metering.api.doors import GatewayView
from metering.api.revenium import fields
from metering.api.revenium.dialect import ReveniumAnswerStyle, key_fields_of
from metering.api.revenium.records import ERROR_RECORD_SCHEMA, InvalidField
from metering.models.check_codes import CheckCode
from metering.verification.asking import judge_calls_now
from metering.verification.checking import CallAhead
from revcred.api.schema import json_schema_of
from revcred.models import Gateway
from revcred.postgresql import database_deadline

# Ambiguous is good: the call would wait until an admin decides for which subscription it counts.
# That the customer is suspended is for the other check to say, which gateways ask with a policy.
GOOD_CODES = {CheckCode.VALID, CheckCode.AMBIGUOUS, CheckCode.CUSTOMER_SUSPENDED}
KEY_CHECK_CACHE_SECONDS = 1.0  # so that an ended key is refused within it
MAX_CACHED_KEY_CHECKS = 10_000
KEY_CHECK_ERRORS = dict.fromkeys((400, 401, 403, 503), ERROR_RECORD_SCHEMA)


class KeyValidity(msgspec.Struct):
    """The answer to a question about a key or token that is valid; others get an error."""

    valid: bool = True


class ProductKeyView(GatewayView):
    """Check of a key or subscription before a call.

    Gateways ask it for each request. A few queries answer it, at most once a second for each key.
    """

    answer_style = ReveniumAnswerStyle()

    @extend_schema(
        operation_id="revenium_v1_product_key",
        summary="Check that a key or a subscription is valid for a call now",
        tags=["Revenium: metering v1"],
        parameters=[
            OpenApiParameter("application", description="A key or alias."),
            OpenApiParameter("productKey", description="A subscription's external key."),
        ],
        responses={200: json_schema_of(KeyValidity), 404: ERROR_RECORD_SCHEMA, **KEY_CHECK_ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        query = request.query_params
        # The caller's request waits for this answer, so that a slow database must not hold it.
        with database_deadline(DATABASE_DEADLINE_SECONDS):
            is_good = _is_good_for_call(
                admission_of(request).gateway, query.get("application"), query.get("productKey")
            )
        if not is_good:
            raise NotFound("This key or subscription is unknown, or not valid for a call now.")
        return self.respond(Answer(HTTPStatus.OK, KeyValidity()))


class ResolveKeyView(GatewayView):
    """Check of a gateway's token, which is valid here if it may post."""

    answer_style = ReveniumAnswerStyle()

    @extend_schema(
        operation_id="revenium_resolve_key",
        summary="Check that a token is valid",
        tags=["Revenium: metering v2"],
        responses={200: json_schema_of(KeyValidity), **KEY_CHECK_ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        return self.respond(Answer(HTTPStatus.OK, KeyValidity()))


def _is_good_for_call(gateway: Gateway, key: str | None, subscription: str | None) -> bool:
    """Return True if a call with this key or subscription would be attributed now.

    Raises:
        InvalidField: key or subscription is too long, or has a NUL.
    """
    try:
        key_fields = key_fields_of("application", key)
        external_key = fields.parse_text("productKey", subscription)
    except ItemRejected as rejection:
        raise InvalidField(rejection) from rejection
    fingerprint = key_fields["key"].fingerprint if key_fields else None
    return _check_key(gateway, fingerprint, external_key)


# Only the fingerprint is in the cache, never the key.
@cached(TTLCache(MAX_CACHED_KEY_CHECKS, KEY_CHECK_CACHE_SECONDS), lock=Lock())
def _check_key(gateway: Gateway, fingerprint: str | None, subscription: str | None) -> bool:
    if fingerprint is None and subscription is None:
        return False
    call = CallAhead(
        gateway=gateway.pk,
        at=timezone.now(),
        fingerprint=UUID(fingerprint) if fingerprint else None,
        may_be_alias=True,
        subscription_named=subscription,
    )
    (found,) = judge_calls_now([call], refuse_over_quota=False)
    return found.code in GOOD_CODES
