"""What a gateway would have refused, and why a credential's calls were."""

import pytest
from django.utils import timezone

from metering.models.check_codes import CheckCode
from metering.verification.figures import observed_lately, refused_at, refused_of
from metering.verification.refused_calls import Refused, new_receipt_id, record_refused
from tests import factories

pytestmark = pytest.mark.django_db


def refuse(gateway, credential, code, *, observed=False):
    refused = Refused(
        id=new_receipt_id(),
        at=timezone.now(),
        gateway=gateway.pk,
        credential=credential.pk if credential else None,
        code=code,
        method="GET",
        path="/",
        observed=observed,
    )
    record_refused([refused])


def test_observed_calls_are_counted_with_their_customers():
    gateway, other = factories.a_gateway(), factories.a_gateway()
    first, second = factories.a_credential(), factories.a_credential()
    for credential in (first, first, second, None):
        refuse(gateway, credential, "suspended", observed=True)
    refuse(gateway, first, "suspended")
    refuse(other, first, "suspended", observed=True)

    assert str(observed_lately(gateway.pk)) == "4 calls of 2 customers in the last 7 days"
    assert str(observed_lately(other.pk)) == "1 call of 1 customer in the last 7 days"


def test_figures_tell_gateway_credential_and_code():
    gateway, credential = factories.a_gateway(), factories.a_credential()
    for code in ("expired", "revoked", "expired"):
        refuse(gateway, credential, code)
    refuse(gateway, None, "unknown_key")

    at = [(each.credential, each.code, each.calls) for each in refused_at(gateway.pk, 9)]
    of = [(each.gateway, each.code, each.calls) for each in refused_of(credential.pk, 9)]

    assert at[0] == (credential, CheckCode.EXPIRED, 2)
    assert sorted(at[1:], key=str) == sorted(
        [(credential, CheckCode.REVOKED, 1), (None, CheckCode.UNKNOWN_KEY, 1)], key=str
    )
    assert of == [(gateway, CheckCode.EXPIRED, 2), (gateway, CheckCode.REVOKED, 1)]
