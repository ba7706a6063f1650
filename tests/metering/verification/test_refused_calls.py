"""Refused calls are all counted, and the first of each credential are kept whole."""

from datetime import timedelta
from unittest.mock import patch
from uuid import UUID

import pytest
from django.utils import timezone

from metering.models import RefusedCall, RefusedCount
from metering.models.functions import first_id_at
from metering.verification import refused_calls
from metering.verification.refused_calls import Refused, new_receipt_id, record_refused
from tests import factories

pytestmark = pytest.mark.django_db


def a_refused_call(gateway, credential=None, **fields):
    return Refused(
        **{
            "id": new_receipt_id(),
            "at": timezone.now(),
            "gateway": gateway.pk,
            "credential": credential,
            "code": "suspended" if credential else "unknown_key",
            "method": "GET",
            "path": "/maps",
            "observed": False,
        }
        | fields
    )


def test_the_first_receipts_of_each_credential_and_gateway_are_kept():
    gateways = factories.a_gateway(), factories.a_gateway()
    limits = {"MAX_RECEIPTS_PER_CREDENTIAL": 2, "MAX_RECEIPTS_OF_UNKNOWN_KEYS": 3}
    with patch.multiple(refused_calls, **limits):
        for _ in range(2):
            record_refused(
                [a_refused_call(gateway, number) for gateway in gateways for number in (7, 8, None)]
            )
            record_refused([a_refused_call(gateways[0]) for _ in range(2)])

    kept = RefusedCall.objects.values_list("gateway", "credential")
    first, second = (gateway.pk for gateway in gateways)
    assert sorted(kept, key=str) == sorted(
        [*[(first, 7), (second, 7), (first, 8), (second, 8)], *[(first, None)] * 3]
        + [(second, None)] * 2,
        key=str,
    )
    assert {
        (row.gateway_id, row.credential_id): row.calls for row in RefusedCount.objects.all()
    } == {
        **{(gateway, number): 2 for gateway in (first, second) for number in (7, 8)},
        (first, None): 6,
        (second, None): 2,
    }


def test_what_cannot_be_stored_is_left_out():
    gateway = factories.a_gateway()

    record_refused([a_refused_call(gateway, path="/\0\ud800" + "x" * 900, method="M" * 99)])

    kept = RefusedCall.objects.get()
    assert (kept.path[:3], len(kept.path), len(kept.method)) == ("/?x", 499, 20)


def test_a_receipt_of_a_gateway_that_was_deleted_does_no_harm():
    gateway = factories.a_gateway()
    refused = a_refused_call(gateway)
    gateway.delete()

    record_refused([refused])

    assert not RefusedCount.objects.exists()


def test_receipts_are_deleted_after_thirty_days():
    gateway = factories.a_gateway()
    old = UUID(int=first_id_at(timezone.now() - timedelta(days=31)).int + 1)
    record_refused([a_refused_call(gateway, id=old), a_refused_call(gateway)])

    refused_calls.delete_old_receipts()

    assert RefusedCall.objects.exclude(pk=old).count() == RefusedCall.objects.count() == 1
