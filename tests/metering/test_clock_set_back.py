"""Whatever waits is done soon after PostgreSQL's clock was set back."""

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.clock_set_back import bring_forward_waiting_work
from metering.inbox.intake import accept_calls
from metering.management.commands.clock import sweep_waiting_work
from metering.models import Claim, Delivery, PartialTransaction, Transaction
from metering.pairing.completion import pair_due_partials
from metering.pairing.partial_transactions import PartialSide, accept_partial
from revcred import outbox
from revcred.models import OutgoingMail
from tests import factories

pytestmark = pytest.mark.django_db

HOURS = timedelta(hours=5)  # that the clock was ahead
KEY = "key-of-the-future"


@pytest.fixture(autouse=True)
def credential():
    customer = factories.a_customer()
    return factories.a_credential(customer, KEY, subscriptions=[factories.a_subscription(customer)])


def test_a_delivery_that_came_while_it_was_ahead_is_processed():
    accept_calls(factories.a_gateway(), [factories.a_call(KEY)])
    moment = timezone.now() + HOURS
    Delivery.objects.update(received_at=moment, next_try_at=moment)
    process_waiting_deliveries()
    assert not Transaction.objects.exists()

    bring_forward_waiting_work()
    process_waiting_deliveries()

    assert Transaction.objects.count() == 1


@pytest.mark.parametrize(("pause", "is_due"), [(timedelta(seconds=30), False), (HOURS, True)])
def test_a_delivery_that_was_attempted_keeps_the_pause_of_a_right_clock(pause, is_due):
    accept_calls(factories.a_gateway(), [factories.a_call(KEY)])
    Delivery.objects.update(attempts=2, next_try_at=timezone.now() + pause)

    bring_forward_waiting_work()

    assert Delivery.objects.filter(next_try_at__lte=timezone.now()).exists() is is_due


def test_parts_that_came_while_it_was_ahead_are_paired():
    gateway = factories.a_gateway()
    for key, side in ((KEY, PartialSide.REQUEST), (None, PartialSide.RESPONSE)):
        call = factories.a_call(key, transaction_id="t-1", undated=True)
        accept_partial(gateway, call, side)
    PartialTransaction.objects.update(
        received_at=timezone.now() + HOURS, next_look_at=timezone.now() + HOURS
    )
    assert pair_due_partials() == 0

    bring_forward_waiting_work()

    assert pair_due_partials() == 1
    assert not PartialTransaction.objects.exists()


@pytest.mark.parametrize("attempts", [0, 1])
def test_a_mail_of_the_future_is_sent(attempts):
    outbox.queue_mail(
        "emails/became_member", "ann@example.com", {"membership": None, "by": "the operator"}
    )
    OutgoingMail.objects.update(attempts=attempts, next_try_at=timezone.now() + HOURS)
    assert outbox.send_waiting_mail() == 0

    bring_forward_waiting_work()

    assert outbox.send_waiting_mail() == 1
    assert len(mail.outbox) == 1


def test_a_claim_of_the_future_needs_no_bell(credential):
    Claim.objects.create(cause="Issued", credential=credential, created_at=timezone.now() + HOURS)

    sweep_waiting_work()

    assert not Claim.objects.open().exists()
