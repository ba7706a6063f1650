from django.db.models import F
from django.db.transaction import atomic

from bench.textbook.celery import app
from bench.textbook.models import Call, Charge, Counter
from revcred.models import Assignment, ExternalKey


@app.task
def attribute(pk: int) -> None:
    """Whose one call was, and one more on that subscription's counters."""
    call = Call.objects.get(pk=pk)
    assignment = _assignment_of(call)
    with atomic():
        _, is_new = Charge.objects.get_or_create(
            gateway_id=call.gateway_id,
            transaction_id=call.transaction_id,
            defaults={
                "call": call,
                "credential_id": assignment and assignment.credential_id,
                "subscription_id": assignment and assignment.subscription_id,
            },
        )
        if is_new and assignment:
            _count(call, assignment.subscription_id)
        call.processed = True
        call.save(update_fields=["processed"])


def _assignment_of(call: Call) -> Assignment | None:
    keys = ExternalKey.objects.at(call.occurred_at).select_related("credential")
    key = keys.filter(fingerprint=call.fingerprint).first()
    if key is None:
        return None
    assignments = Assignment.objects.at(call.occurred_at).select_related("subscription")
    return assignments.filter(credential=key.credential).first()


def _count(call: Call, subscription: int) -> None:
    hour = call.occurred_at.replace(minute=0, second=0, microsecond=0)
    for element, quantity in call.elements.items():
        counter, _ = Counter.objects.get_or_create(
            subscription_id=subscription, hour=hour, element=element
        )
        Counter.objects.filter(pk=counter.pk).update(
            count=F("count") + 1, quantity=F("quantity") + quantity
        )
