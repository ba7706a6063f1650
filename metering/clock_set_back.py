"""Waiting work after PostgreSQL's clock was set back.

What arrived while the clock was hours ahead would otherwise wait for hours: its moment is still to
come. Nothing arrives in the future, and no pause is longer than the longest.
"""

from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

from metering.models import Delivery, PartialTransaction
from revcred.models import OutgoingMail
from revcred.outbox import MAX_RETRY_DELAY

MAX_DELIVERY_PAUSE = timedelta(seconds=2**12)  # after any number of attempts


def bring_forward_waiting_work() -> None:
    """Let deliveries, partial transactions and mails be due now if a wrong clock postponed them."""
    Delivery.objects.filter(
        # A delivery that was attempted keeps its pause, which may be what spares others.
        Q(attempts=0, received_at__gt=Now()) | Q(next_try_at__gt=Now() + MAX_DELIVERY_PAUSE),
        next_try_at__gt=Now(),
    ).update(next_try_at=Now())
    # Its next look is counted from its arrival, so that this moment is set right as well.
    PartialTransaction.objects.filter(next_look_at__gt=Now(), received_at__gt=Now()).update(
        next_look_at=Now(), received_at=Now()
    )
    OutgoingMail.objects.filter(
        Q(attempts=0) | Q(next_try_at__gt=Now() + MAX_RETRY_DELAY), next_try_at__gt=Now()
    ).update(next_try_at=Now())
