"""A key that came with one half of a call is found in the other, as if they had come as one."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from msgspec.structs import replace

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox import redaction
from metering.inbox.calls import caller_key_field
from metering.inbox.redaction import CallerKey, trace_of_key
from metering.models import PartialTransaction, Quarantined, Transaction
from metering.pairing.completion import pair_due_partials
from metering.pairing.partial_transactions import PartialSide, accept_partial
from revcred.redaction import NOT_SEARCHED_TEXT
from tests import canaries, factories
from tests.revcred.test_redaction import CASE_FORMS, FORMS, is_left

pytestmark = pytest.mark.django_db

KEYS = {
    "nobody's": "harbour-K3y-9f2d.c7/a+1",
    "somebody's": "known-Harbour-7e1a/c+2=",
    "a short": "k3y.9f2d",
}
FIELDS = {
    "metadata": lambda said: {"metadata": {"deep": [{"agent": f"x{said}y"}], said: 1}},
    "path": lambda said: {"path": f"/v1/{said}/tiles"},
    "source": lambda said: {"source_named": said},
}


@pytest.fixture
def gateway():
    redaction.forget_name_checks()
    customer = factories.a_customer("Acme")
    factories.a_credential(
        customer, KEYS["somebody's"], subscriptions=[factories.a_subscription(customer)]
    )
    return factories.a_gateway("edge")


def work():
    while pair_due_partials():
        pass
    process_waiting_deliveries()


def hours_pass():
    PartialTransaction.objects.update(received_at=Now() - timedelta(hours=3), next_look_at=Now())
    work()


def come(gateway, key, each_said, *, order, between):
    """Pairs of halves come, one pair for each of these."""
    for side in order:
        for number, said in enumerate(each_said):
            known = {"transaction_id": f"t-{number}", "undated": True}
            if side == PartialSide.REQUEST:
                half = replace(factories.a_call(method="GET", **known), **caller_key_field(key))
            else:
                half = factories.a_call(status=200, **known, **said)
            accept_partial(gateway, half, side)
        between()
    hours_pass()


def lines():
    return [line for line in canaries.everything().splitlines() if line.startswith("metering_")]


@pytest.mark.parametrize("late", [False, True], ids=["both", "late"])
@pytest.mark.parametrize(
    "order", [list(PartialSide), list(PartialSide)[::-1]], ids=["key first", "key last"]
)
@pytest.mark.parametrize("whose", KEYS)
@pytest.mark.parametrize("field", FIELDS)
def test_no_form_is_left(gateway, whose, field, order, late):
    key = KEYS[whose]
    # Of a call that has been counted only the fingerprint is known, of one way to write the key.
    forms = [form for form in FORMS if not (late and form in CASE_FORMS)]

    come(
        gateway,
        key,
        [FIELDS[field](FORMS[form](key)) for form in forms],
        order=order,
        between=hours_pass if late else work,
    )

    assert not PartialTransaction.objects.exists()
    counted = [*Transaction.objects.standing(), *Quarantined.objects.all()]
    assert len(counted) == len(forms)
    assert {(row.method, row.status) for row in counted} == {("GET", 200)}
    assert [line for line in lines() if is_left(key, line)] == []


def test_what_is_too_much_is_left_out_of_the_joined_call(gateway):
    filling = "".join(f"{number}-" for number in range(700))

    come(
        gateway,
        KEYS["nobody's"],
        [{"metadata": {"filling": filling}}],
        order=list(PartialSide),
        between=work,
    )

    assert Quarantined.objects.get().metadata == {"filling": NOT_SEARCHED_TEXT}


def test_a_trace_is_no_key():
    key = KEYS["nobody's"]
    trace = trace_of_key(CallerKey(key))

    assert key[:-4] not in str(trace)
    assert trace.found_in(f"a{key}b").parts == {key}
    assert not trace.found_in(f"a{key[:-1]}c").parts
