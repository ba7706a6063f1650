from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from metering.attribution.explanation import Outcome, explain_verdict
from metering.attribution.hypothetical import HypotheticalCall, judge_calls
from metering.models import Quarantined, Transaction
from revcred.actions import credentials
from revcred.fingerprints import fingerprint_hex
from revcred.models import Source
from tests.factories import (
    a_call,
    a_credential,
    a_customer,
    a_gateway,
    a_product,
    a_subscription,
    settled,
)

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-of-explanations-abcd"
DAY = timedelta(days=1)


def charged(customer):
    a_credential(customer, KEY, name="App", subscriptions=[a_subscription(customer, name="Gold")])
    return {}, None, "Yes: Gold"


def unknown(customer):
    return {}, "unknown_key", "No credential has it."


def ended(customer):
    app = a_credential(customer, KEY, name="App")
    credentials.end_key(key=app.keys.get(), by=None, at=timezone.now() - DAY)
    return {}, "key_not_valid", "Not then: App from"


def suspended(customer):
    app = a_credential(customer, KEY, subscriptions=[a_subscription(customer)])
    credentials.suspend_credential(credential=app, by=None)
    return {}, "key_not_valid", "Suspended from"


def revoked(customer):
    app = a_credential(customer, KEY, subscriptions=[a_subscription(customer)])
    credentials.revoke_credential(credential=app, reason="A test", by=None)
    return {}, "key_not_valid", "Revoked since"


def expired(customer):
    now = timezone.now()
    a_credential(customer, KEY, expires_at=now - DAY, subscriptions=[a_subscription(customer)])
    return {}, "key_not_valid", "Expired since"


def of_nothing(customer):
    a_credential(customer, KEY)
    return {}, "no_subscription", "No subscription fits"


def another_source(customer):
    product = a_product("Maps", restricted=True)
    product.sources.add(Source.objects.create(name="Tiles", external_key="tiles"))
    Source.objects.create(name="Routes", external_key="routes")
    a_credential(customer, KEY, subscriptions=[a_subscription(customer, product=product)])
    return {"source_named": "routes"}, "no_subscription", "No subscription fits"


def of_two(customer):
    pair = [a_subscription(customer), a_subscription(customer)]
    a_credential(customer, KEY, subscriptions=pair)
    return {}, "ambiguous", "More than one subscription fits"


def of_another(customer):
    a_credential(customer, KEY, subscriptions=[a_subscription(customer)])
    other = a_subscription(customer, external_key="other")
    return {"subscription_named": other.external_key}, "subscription_mismatch", "not charged"


def named_and_ended(customer):
    a_subscription(customer, external_key="gold", active_until=timezone.now() - DAY)
    return {"subscription_named": "gold", "key": None}, "no_subscription", "Active: "


def named(customer):
    a_subscription(customer, external_key="gold", name="Gold")
    return {"subscription_named": "gold", "key": None}, None, "Yes: Gold"


@pytest.mark.parametrize(
    "make",
    [
        *(charged, unknown, ended, suspended, revoked, expired, of_nothing, another_source),
        *(of_two, of_another, named_and_ended, named),
    ],
)
def test_a_call_that_was_never_made_is_judged_like_one_that_was(make):
    facts, reason, said = make(a_customer())
    gateway, key = a_gateway(), facts.pop("key", KEY)
    call = HypotheticalCall(
        gateway_id=gateway.pk,
        occurred_at=timezone.now(),
        fingerprint=UUID(fingerprint_hex(key)) if key else None,
        **facts,
    )

    (judged,) = judge_calls([call])
    steps = explain_verdict(call, judged, now=timezone.now())

    assert judged.reason == reason
    failed = [step for step in steps if step.outcome is Outcome.FAILED]
    assert len(failed) == (1 if reason else 0)
    assert said in " ".join(step.sentence for step in steps)
    assert not Transaction.objects.exists()
    assert not Quarantined.objects.exists()
    # Attribution says the same of the call itself.
    settled(a_call(key, **facts), gateway=gateway)
    found = Quarantined.objects.first() or Transaction.objects.first()
    assert getattr(found, "reason", None) == reason
    assert getattr(found, "subscription_id", None) == (
        judged.subscription_id if not reason else None
    )


def test_a_moment_outside_the_window_and_a_suspended_gateway_are_told():
    gateway = a_gateway(suspended_at=timezone.now())
    call = HypotheticalCall(gateway_id=gateway.pk, occurred_at=timezone.now() - 400 * DAY)
    (judged,) = judge_calls([call])

    (step,) = explain_verdict(call, judged, now=timezone.now())
    assert "suspended" in step.sentence
    type(gateway).objects.update(suspended_at=None)
    _, step = explain_verdict(call, judged, now=timezone.now())
    assert "Calls are accepted from" in step.sentence
