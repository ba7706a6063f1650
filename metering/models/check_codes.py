"""Codes of an answer to the question whether a call may be let through."""

from http import HTTPStatus

from django.db import models
from django.utils.translation import gettext_noop


class CheckCode(models.TextChoices):
    """What became of a check: the call is valid, or why it is not."""

    VALID = "valid", gettext_noop("The call is let through")
    OFF = "off", gettext_noop("This gateway does not check calls")
    OBSERVED = "observed", gettext_noop("This gateway only observes: every call is let through")
    UNKNOWN_KEY = "unknown_key", gettext_noop("No credential has this key")
    REVOKED = "revoked", gettext_noop("The credential has been revoked")
    SUSPENDED = "suspended", gettext_noop("The credential is suspended")
    EXPIRED = "expired", gettext_noop("The key or its credential has expired")
    NOT_BEGUN = "not_begun", gettext_noop("The key is not valid yet")
    NO_SUBSCRIPTION = "no_subscription", gettext_noop("The credential has no active subscription")
    SUBSCRIPTION_MISMATCH = (
        "subscription_mismatch",
        gettext_noop("The credential is not assigned to the named subscription"),
    )
    WRONG_SOURCE = (
        "wrong_source",
        gettext_noop("No subscription of the credential covers this source"),
    )
    CUSTOMER_SUSPENDED = "customer_suspended", gettext_noop("The customer is suspended")
    QUOTA_EXHAUSTED = "quota_exhausted", gettext_noop("The calls of this month are used up")
    AMBIGUOUS = "ambiguous", gettext_noop("More than one subscription fits")


# What a gateway answers a caller whom it refuses. All other codes are 403: the caller is known.
STATUS_BY_CODE = {
    CheckCode.UNKNOWN_KEY: HTTPStatus.UNAUTHORIZED,
    CheckCode.QUOTA_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
}


def status_of(code: CheckCode) -> HTTPStatus:
    """Return the status of a refused call."""
    return STATUS_BY_CODE.get(code, HTTPStatus.FORBIDDEN)
