"""Groups in quarantine name the credential of their key, and an admin chooses moments there."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from metering.ledger import partitions
from metering.models import Quarantined, Transaction
from metering.quarantine import reattribution
from metering.similar_keys import similar_plain_key
from revcred.actions import credentials
from revcred.models import AuditEvent, ExternalKey
from tests import factories
from tests.confirming import asked, confirm, post

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-with-a-story-0001"
LIST = reverse("admin:metering_quarantined_changelist")


@pytest.fixture
def admin():
    return factories.a_user("ada@example.com")


@pytest.fixture
def credential():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, name="Maps")
    return factories.a_credential(customer, KEY, name="Backend", subscriptions=[subscription])


def revoke(credential, admin):
    credentials.revoke_credential(credential=credential, reason="lost", by=admin)
    return credential.revoked_at


def suspend(credential, admin):
    credentials.suspend_credential(credential=credential, by=admin)
    return credential.suspensions.get().active_from


def end(credential, admin):
    credentials.end_key(key=credential.keys.get(), by=admin)
    return credential.keys.get().active_until


def expire(credential, admin):
    at = timezone.now() - timedelta(seconds=1)
    credential.expires_at = at
    credentials.change_credential(credential=credential, by=admin)
    return at


def begin(credential, admin):
    at = timezone.now() + timedelta(days=1)
    ExternalKey.objects.update(active_from=at)
    return at


STORIES = {
    "revoked": (revoke, True),
    "suspended": (suspend, True),
    "key ended": (end, True),
    "expired": (expire, True),
    "valid only from": (begin, False),
}


@pytest.mark.parametrize("state", STORIES)
def test_not_valid_then_names_whose_since_when_and_by_whom(admin_client, credential, admin, state):
    story, is_by_admin = STORIES[state]
    since = story(credential, admin)
    factories.settled(factories.a_call(KEY))

    response = admin_client.get(LIST)

    (group,) = response.context["groups"]
    assert group.reason == "key_not_valid"
    assert (group.owner.credential, group.owner.state) == (credential, state)
    assert abs(group.owner.since - since) < timedelta(seconds=1)
    assert group.owner.by == (admin.email if is_by_admin else "")
    for page in (response, admin_client.get(f"{LIST}?group={group.slug}")):
        said = page.content.decode()
        assert reverse("admin:revcred_credential_change", args=[credential.pk]) in said
        assert state in said
        assert f"{since:%Y-%m-%d %H:%M}" in said


def test_like_a_known_key_but_for(admin_client, credential):
    text = f'"Bearer {KEY}"'
    similar_fingerprint, oddities = similar_plain_key(text)
    factories.settled(
        factories.a_call(text, similar_fingerprint=similar_fingerprint, oddities=oddities)
    )
    reattribution.work_through_claims()

    response = admin_client.get(LIST)

    (group,) = response.context["groups"]
    assert group.owner.credential == credential
    assert (
        "It differs from a key of Backend of Acme only by quotes around it and a word before it"
        in strip_tags(group.explanation)
    )
    assert not Transaction.objects.exists()


def test_a_key_that_was_assigned_since_is_said_to_belong_to_its_credential(
    admin_client, credential
):
    alias = "a-key-of-nobody-at-all"
    factories.settled(factories.a_call(alias))
    factories.credentials.add_alias(credential=credential, alias=alias, by=None)

    (group,) = admin_client.get(LIST).context["groups"]

    said = strip_tags(group.explanation)
    assert said.startswith("Key …-all belongs to Backend of Acme. It was unknown when")


def test_an_unknown_key_is_nobodys(admin_client, credential):
    factories.settled(factories.a_call("a-key-of-nobody-at-all"), factories.a_call())

    assert [each.owner for each in admin_client.get(LIST).context["groups"]] == [None, None]


def test_an_admin_chooses_the_moment_and_sees_before_what_it_does(admin_client, credential):
    old = {"ago": timedelta(days=40), "outside": True}
    gateway = factories.a_gateway()
    factories.settled(*(factories.a_call(KEY, **old) for _ in range(3)), gateway=gateway)
    factories.settled(
        factories.a_call(KEY, ago=timedelta(days=9_000), outside=True), gateway=gateway
    )
    (group,) = admin_client.get(LIST).context["groups"]
    address = reverse("admin:metering_quarantined_moment", args=[group.slug])

    page = admin_client.get(address).content.decode()

    assert "At the moment they say: 3 for Acme / Maps; 1 cannot" in page
    assert "At the moment they arrived: 4 for Acme / Maps" in page
    assert not Transaction.objects.exists()

    asking = admin_client.post(address, {"at": "said"})
    assert asked(asking)
    assert "This moves 3 calls" in asking.text
    answer = confirm(admin_client, asking)
    reattribution.work_through_claims()

    assert answer.status_code == 302
    assert Transaction.objects.count() == 3
    assert Quarantined.objects.get().reason == "moment_outside"
    assert AuditEvent.objects.filter(verb="moments_chosen").count() == 1


def test_who_may_only_look_chooses_nothing(client, credential):
    factories.settled(factories.a_call(KEY, ago=timedelta(days=40), outside=True))
    row = Quarantined.objects.get()
    slug = f"moment_outside~{row.gateway_id}~{row.fingerprint}"
    client.force_login(factories.a_user(is_staff=True))

    address = reverse("admin:metering_quarantined_moment", args=[slug])
    assert client.post(address, {"at": "said"}).status_code == 403
    assert Quarantined.objects.get().outside


@pytest.mark.parametrize(("days", "is_taken"), [(1, True), (399, True), (400, False), (0, False)])
def test_an_accepted_age_is_no_longer_than_what_is_remembered(admin_client, days, is_taken):
    gateway = factories.a_gateway("Edge")
    said = {
        "name": "Edge",
        "kind": "other",
        "event_subject": "key",
        "event_elements": "",
        "accepted_days": days,
        "check_mode": "off",
        "key_place": "header",
        "key_name": "X-Api-Key",
    }

    post(admin_client, reverse("admin:revcred_gateway_change", args=[gateway.pk]), said)

    gateway.refresh_from_db()
    assert (gateway.accepted_days == days) == is_taken
    oldest = timezone.now().date() - timedelta(days=days)
    assert (oldest in partitions.partitioned_days()) == is_taken or days < 1
    partitions.drop_partitions(before=timezone.now().date() - timedelta(days=40))
