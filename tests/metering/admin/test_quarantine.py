from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from metering.admin import groups
from metering.models import Claim, Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.fingerprints import fingerprint
from revcred.models import AuditEvent
from tests.confirming import confirm, post
from tests.factories import (
    a_call,
    a_credential,
    a_customer,
    a_gateway,
    a_subscription,
    a_user,
    settled,
)

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "an-unknown-key-with-abcd"
LIST = reverse("admin:metering_quarantined_changelist")


@pytest.fixture
def gateway():
    return a_gateway("Edge")


def act(group: groups.QuarantineGroup, name: str) -> str:
    return reverse(f"admin:metering_quarantined_{name}", args=[group.slug])


def shown(response) -> list[tuple]:
    return [
        (str(each.reason), each.hint, str(each.gateway), each.count)
        for each in response.context["groups"]
    ]


def test_what_waits_is_grouped_and_the_latest_comes_first(admin_client, gateway):
    other = a_gateway("Other")
    settled(
        a_call(KEY, ago=timedelta(hours=3)), a_call(KEY, ago=timedelta(hours=2)), gateway=gateway
    )
    settled(a_call(KEY, ago=timedelta(hours=1)), gateway=other)
    settled(a_call("another-unknown-key-efgh"), a_call(ago=timedelta(days=1)), gateway=gateway)

    response = admin_client.get(LIST)

    assert shown(response) == [
        ("unknown_key", "efgh", "Edge", 1),
        ("unknown_key", "abcd", "Other", 1),
        ("unknown_key", "abcd", "Edge", 2),
        ("anonymous", "", "Edge", 1),
    ]
    first, last = response.context["groups"][2].since, response.context["groups"][2].last_seen
    assert last - first == pytest.approx(timedelta(hours=1), abs=timedelta(seconds=5))
    assert shown(admin_client.get(LIST, {"gateway": other.pk})) == [
        ("unknown_key", "abcd", "Other", 1)
    ]
    assert shown(admin_client.get(LIST, {"reason": "anonymous"})) == [("anonymous", "", "Edge", 1)]


def test_a_group_is_counted_only_so_far(gateway, monkeypatch):
    monkeypatch.setattr(groups, "MAX_COUNTED_PER_GROUP", 1)
    settled(a_call(KEY), a_call(KEY), a_call(KEY), gateway=gateway)

    assert [each.count_in_words for each in groups.measure_groups(groups.find_groups())] == [
        "more than 1"
    ]


def test_a_group_leads_to_its_transactions_and_they_to_their_receipt(admin_client, gateway):
    settled(a_call(KEY, transaction_id="one"), a_call(transaction_id="two"), gateway=gateway)
    (group,) = groups.find_groups(reason=groups.QuarantineReason.UNKNOWN_KEY)

    response = admin_client.get(LIST, {"group": group.slug})

    (row,) = response.context["cl"].result_list
    assert row.transaction_id == "one"
    receipt = admin_client.get(reverse("admin:metering_quarantined_change", args=[row.pk]))
    assert "No credential has this key" in receipt.content.decode()
    assert KEY not in receipt.content.decode()


def test_a_reviewed_group_leaves_the_list_with_a_note_and_can_be_put_back(admin_client, gateway):
    settled(a_call(KEY), a_call(KEY), gateway=gateway)
    (group,) = groups.find_groups()

    admin_client.post(act(group, "review"), {"note": "A scanner"})

    assert groups.find_groups() == []
    assert set(Quarantined.objects.values_list("release_note", "released_by")) == {
        ("A scanner", "admin@example.com")
    }
    assert AuditEvent.objects.get().details["transactions"] == 2
    reviewed = admin_client.get(LIST, {"reviewed": "yes"})
    assert reviewed.context["cl"].result_count == 2

    admin_client.post(act(group, "put-back"))

    assert [each.slug for each in groups.find_groups()] == [group.slug]


def test_a_review_says_why(admin_client, gateway):
    settled(a_call(KEY), gateway=gateway)
    (group,) = groups.find_groups()

    response = admin_client.post(act(group, "review"), {"note": " "})

    assert list(response.context["form"].errors) == ["note"]


def test_a_fingerprint_becomes_an_alias_and_what_waits_under_it_is_claimed(admin_client, gateway):
    customer = a_customer()
    subscription = a_subscription(customer)
    credential = a_credential(customer, subscriptions=[subscription])
    settled(a_call(KEY), a_call(KEY), gateway=gateway)
    (group,) = groups.find_groups()

    typed = {"credential": credential.pk, "only_here": "on"}
    response = admin_client.post(act(group, "attach"), typed)
    assert response.context["found"].calls == 2
    confirm(admin_client, response)
    reattribution.work_through_claims()

    alias = credential.keys.get(kind="alias")
    assert (alias.fingerprint, alias.hint, alias.gateway) == (fingerprint(KEY), "abcd", gateway)
    assert not hasattr(alias, "sealed")
    assert not Quarantined.objects.exists()
    assert Transaction.objects.filter(subscription=subscription).count() == 2


def test_a_key_in_use_is_not_attached_to_another(admin_client, gateway):
    a_credential(key=KEY)
    settled(a_call(KEY), gateway=gateway)  # waits because its credential feeds nothing
    (group,) = groups.find_groups()

    response = admin_client.post(act(group, "attach"), {"credential": a_credential().pk})

    assert response.context["form"].non_field_errors() == [
        "Another credential has this key in that period already."
    ]


def test_claiming_now_judges_what_the_key_leads_to(admin_client, gateway):
    credential = a_credential(key=KEY)
    settled(a_call(KEY), a_call("another-unknown-key"), gateway=gateway)
    known, unknown = groups.find_groups(
        reason=groups.QuarantineReason.NO_SUBSCRIPTION
    ) + groups.find_groups(reason=groups.QuarantineReason.UNKNOWN_KEY)
    Claim.objects.all().delete()

    post(admin_client, act(known, "claim"), {})
    post(admin_client, act(unknown, "claim"), {})

    asked = Claim.objects.order_by("pk").values_list("credential", "by")
    assert list(asked) == [(credential.pk, "admin@example.com"), (None, "admin@example.com")]


def test_who_may_only_look_does_nothing_to_it(client, gateway):
    staff = a_user(is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_quarantined"))
    client.force_login(staff)
    settled(a_call(KEY), gateway=gateway)
    (group,) = groups.find_groups()

    assert act(group, "review") not in client.get(LIST).content.decode()
    for name in ("review", "put-back", "claim", "attach"):
        assert client.post(act(group, name)).status_code == 403


def test_to_attach_asks_for_the_permission_about_credentials_too(client, gateway):
    staff = a_user(is_staff=True)
    staff.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_quarantined", "change_quarantined"])
    )
    client.force_login(staff)
    settled(a_call(KEY), gateway=gateway)
    (group,) = groups.find_groups()

    assert client.get(act(group, "review")).status_code == 200
    assert client.get(act(group, "attach")).status_code == 403


@pytest.mark.parametrize("slug", ["nonsense", "unknown_key~x~", "unknown_key~1~nonsense"])
def test_a_group_that_is_not_there(admin_client, slug):
    url = reverse("admin:metering_quarantined_review", args=[slug])

    assert admin_client.get(url).status_code == 404
    assert admin_client.get(LIST, {"group": slug}).context["cl"].result_count == 0


def test_nothing_open_is_said_kindly(admin_client):
    assert "Nothing is waiting" in admin_client.get(LIST).content.decode()
