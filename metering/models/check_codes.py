"""Codes of an answer to the question whether a call may be let through."""

from http import HTTPStatus

from django.db import models


class CheckCode(models.TextChoices):
    """What became of a check: the call is valid, or why it is not."""

    VALID = "valid", "The call is let through"
    OFF = "off", "This gateway does not check calls"
    OBSERVED = "observed", "This gateway only observes: every call is let through"
    UNKNOWN_KEY = "unknown_key", "No credential has this key"
    REVOKED = "revoked", "The credential has been revoked"
    SUSPENDED = "suspended", "The credential is suspended"
    EXPIRED = "expired", "The key or its credential has expired"
    NOT_BEGUN = "not_begun", "The key is not valid yet"
    NO_SUBSCRIPTION = "no_subscription", "The credential has no active subscription"
    SUBSCRIPTION_MISMATCH = (
        "subscription_mismatch",
        "The credential is not assigned to the named subscription",
    )
    WRONG_SOURCE = "wrong_source", "No subscription of the credential covers this source"
    CUSTOMER_SUSPENDED = "customer_suspended", "The customer is suspended"
    QUOTA_EXHAUSTED = "quota_exhausted", "The calls of this month are used up"
    AMBIGUOUS = "ambiguous", "More than one subscription fits"


# What a gateway answers a caller whom it refuses. All other codes are 403: the caller is known.
STATUS_BY_CODE = {
    CheckCode.UNKNOWN_KEY: HTTPStatus.UNAUTHORIZED,
    CheckCode.QUOTA_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
}


def status_of(code: CheckCode) -> HTTPStatus:
    """Return the status of a refused call."""
    return STATUS_BY_CODE.get(code, HTTPStatus.FORBIDDEN)
