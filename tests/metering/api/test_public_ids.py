"""Calls whose gateway names the credential by its public id."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.attribution.explanation import Outcome, explain_verdict
from metering.attribution.hypothetical import HypotheticalCall, judge_calls
from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import public_id_fields
from metering.models import Delivery, Quarantined, Transaction
from metering.quarantine import reattribution
from metering.verification.asking import judge_calls_now
from metering.verification.checking import CallAhead
from revcred.actions import credentials
from revcred.models import Credential, Gateway
from revcred.public_ids import public_id_fingerprint
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
KEY = "the-key-of-the-caller-itself"


@pytest.fixture
def maps():
    return factories.a_subscription(external_key="maps")


@pytest.fixture
def credential(maps):
    """A credential without any key, charged to maps."""
    found = Credential.objects.create(customer=maps.customer, name="Backend")
    found.refresh_from_db()
    credentials.assign_subscription(
        credential=found, subscription=maps, by=None, at=factories.LONG_AGO
    )
    return found


def naming(credential, **fields):
    return factories.a_call(**public_id_fields(credential.public_id), **fields)


def outcomes():
    reasons = [row.reason for row in Quarantined.objects.all()]
    standing = Transaction.objects.standing().select_related("subscription")
    return reasons + [(row.matched_by, row.subscription.external_key) for row in standing]


def test_a_posted_public_id_says_whose_the_call_is(post, call, credential):
    response = post(call(key=..., credential=credential.public_id))
    process_waiting_deliveries()

    row = Transaction.objects.get()
    assert response.status_code == 202
    assert (row.matched_by, row.credential, row.external_key) == ("public_id", credential, None)


def test_what_a_caller_sends_as_key_is_never_a_public_id(post, call, credential):
    post(call(key=credential.public_id))
    process_waiting_deliveries()

    assert outcomes() == ["unknown_key"]


def test_it_wins_over_a_key_which_is_still_cut_out(post, call, credential):
    factories.a_credential(factories.a_customer(), KEY)

    post(call(key=KEY, credential=credential.public_id, metadata={"said": f"key={KEY}"}))

    assert KEY not in Delivery.objects.get().body
    process_waiting_deliveries()
    assert outcomes() == [("public_id", "maps")]


@pytest.mark.parametrize("nothing", ["", None])
def test_without_one_the_key_decides(post, call, maps, nothing):
    factories.a_credential(maps.customer, KEY, subscriptions=[maps])

    post(call(key=KEY, credential=nothing))
    process_waiting_deliveries()

    assert outcomes() == [("key", "maps")]


@pytest.mark.parametrize("text", ["cred_", "cred_" + 32 * "G", "an-alias", "x" * 300])
def test_another_text_is_rejected_by_the_name_of_the_field(post, call, text):
    (rejected,) = post(call(credential=text)).json()["rejected"]

    assert (rejected["field"], rejected["code"]) == ("credential", "invalid")


def test_the_subject_of_an_event_may_be_one(client, token, gateway, credential):
    Gateway.objects.update(event_subject=Gateway.EventSubject.CREDENTIAL)
    credentials.add_alias(credential=credential, alias="client-of-theirs", by=None)
    for number, subject in enumerate((credential.public_id, "client-of-theirs")):
        event = {"specversion": "1.0", "id": f"{number}", "source": "s", "type": "t"}
        client.post(
            "/v1/events",
            json.dumps(event | {"subject": subject}),
            content_type="application/cloudevents+json",
            headers={"authorization": f"Bearer {token}"},
        )
    process_waiting_deliveries()

    assert sorted(outcomes()) == [("alias", "maps"), ("public_id", "maps")]


def test_the_subject_of_an_event_is_none_where_it_is_a_callers_key(client, token, credential):
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    client.post(
        "/v1/events",
        json.dumps(event | {"subject": credential.public_id}),
        content_type="application/cloudevents+json",
        headers={"authorization": f"Bearer {token}"},
    )
    process_waiting_deliveries()

    assert outcomes() == ["unknown_key"]


def test_what_waits_follows_when_a_subscription_is_assigned(maps):
    credential = factories.a_credential(maps.customer)
    factories.settled(naming(credential))
    assert outcomes() == ["no_subscription"]

    credentials.assign_subscription(
        credential=credential, subscription=maps, by=None, at=factories.LONG_AGO
    )
    reattribution.work_through_claims()

    assert outcomes() == [("public_id", "maps")]


def test_the_ledger_follows_a_change_that_reaches_back(credential, maps):
    atlas = factories.a_subscription(maps.customer, external_key="atlas")
    factories.settled(naming(credential, ago=2 * DAY))

    credentials.unassign_subscription(
        credential=credential, subscription=maps, by=None, at=timezone.now() - 3 * DAY
    )
    reattribution.work_through_claims()
    assert outcomes() == ["no_subscription"]
    waiting = Quarantined.objects.get()
    assert waiting.fingerprint == public_id_fingerprint(credential.public_id)
    assert waiting.hint == credential.public_id[-4:]

    credentials.assign_subscription(
        credential=credential, subscription=atlas, by=None, at=timezone.now() - 3 * DAY
    )
    reattribution.work_through_claims()
    assert outcomes() == [("public_id", "atlas")]


def test_subscribers_see_that_their_calls_are_not_counted(credential):
    credentials.suspend_credential(credential=credential, by=None)
    other = factories.a_credential(factories.a_customer())
    factories.settled(naming(credential), naming(other), factories.a_call(KEY))

    found = Quarantined.objects.of_credentials(Credential.objects.filter(pk=credential.pk))

    assert [row.credential_id for row in found] == [credential.pk]


def test_the_quarantine_names_the_credential_and_why_it_was_not_valid(admin_client, credential):
    credentials.suspend_credential(credential=credential, by=None)
    factories.settled(naming(credential))

    response = admin_client.get(reverse("admin:metering_quarantined_changelist"))

    (group,) = response.context["groups"]
    assert (group.owner.credential, group.owner.state) == (credential, "suspended")


@pytest.mark.parametrize("is_suspended", [False, True])
def test_the_verdict_on_one_is_explained(credential, is_suspended):
    if is_suspended:
        credentials.suspend_credential(credential=credential, by=None)
    call = HypotheticalCall(
        gateway_id=factories.a_gateway().pk,
        occurred_at=timezone.now(),
        fingerprint=public_id_fingerprint(credential.public_id),
    )
    (judged,) = judge_calls([call])

    steps = explain_verdict(call, judged, now=timezone.now())

    sentences = " ".join(step.sentence for step in steps)
    assert "It is the public id of Backend".lower() in sentences.lower()
    assert any(step.outcome is Outcome.FAILED for step in steps) == is_suspended
    assert ("Suspended from" in sentences) == is_suspended


def test_an_id_that_an_admin_gave_away_is_the_same_ahead_and_later(credential):
    """A public id that nobody has, such as of another installation, was entered as an alias."""
    nobodys = UUID(int=7)
    credentials.add_alias_by_fingerprint(
        credential=credential, key_fingerprint=nobodys, hint="0007", gateway=None, by=None
    )
    public_id = f"cred_{nobodys.hex}"
    ahead = CallAhead(
        gateway=factories.a_gateway().pk,
        at=timezone.now(),
        fingerprint=nobodys,
        public_id=public_id,
        may_be_alias=True,
    )
    (verdict,) = judge_calls_now([ahead], refuse_over_quota=True)
    factories.settled(factories.a_call(**public_id_fields(public_id)))

    assert (verdict.code, verdict.credential) == ("valid", credential.pk)
    assert outcomes() == [("alias", "maps")]
