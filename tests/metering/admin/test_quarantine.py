from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from metering.admin import groups
from metering.models import Claim, Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.fingerprints import fingerprint
from revcred.models import Assignment, AuditEvent
from tests.confirming import confirm, post
from tests.factories import (
    LONG_AGO,
    a_call,
    a_credential,
    a_customer,
    a_gateway,
    a_subscription,
    a_user,
    an_admin,
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

    (error,) = response.context["form"].non_field_errors()
    assert strip_tags(error).startswith("This key belongs to Credential")


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


def page_of(client, group: groups.QuarantineGroup):
    return client.get(LIST, {"group": group.slug})


def remedies_on(response) -> dict[str, str]:
    return {remedy.title: remedy.sentence for remedy in response.context["remedies"]}


def text_of(response) -> str:
    """The text of a page, without tags, in one line."""
    return " ".join(strip_tags(response.content.decode()).split())


def suspended(customer):
    credential = a_credential(
        customer, KEY, name="Legacy app", subscriptions=[a_subscription(customer)]
    )
    credentials.suspend_credential(credential=credential, by=an_admin())
    return "suspended since"


def of_nothing(customer):
    a_credential(customer, KEY, name="Legacy app")
    a_subscription(customer, name="Gold")
    return "which was not charged to any subscription then"


def of_two(customer):
    pair = [a_subscription(customer, name=name) for name in ("Gold", "Silver")]
    a_credential(customer, KEY, name="Legacy app", subscriptions=pair)
    return "all of them fit"


@pytest.mark.parametrize(
    ("make", "remedies"),
    [
        (suspended, {"Undo the suspension of “Legacy app”": "Moves 1 call → "}),
        (of_nothing, {"Charge “Legacy app” to “Gold”": "Moves 1 call → "}),
        (
            of_two,
            {
                "Charge “Legacy app” to “Gold”": "Moves 1 call → ",
                "Charge “Legacy app” to “Silver”": "Moves 1 call → ",
            },
        ),
    ],
)
def test_a_group_says_what_happened_and_what_each_remedy_would_move(
    admin_client, gateway, make, remedies
):
    why = make(a_customer("Zürich Käse"))
    settled(a_call(KEY), gateway=gateway)
    (group,) = groups.find_groups()
    before = Quarantined.objects.count(), Claim.objects.count(), AuditEvent.objects.count()

    response = page_of(admin_client, group)

    sentence = "Key …abcd belongs to Legacy app of Zürich Käse"
    assert sentence in text_of(response)
    assert why in text_of(response)
    assert sentence in text_of(admin_client.get(LIST))
    found = remedies_on(response)
    assert found.keys() == remedies.keys()
    assert all(found[title].startswith(effect) for title, effect in remedies.items())
    # Trying them changed nothing.
    assert before == (
        Quarantined.objects.count(),
        Claim.objects.count(),
        AuditEvent.objects.count(),
    )


@pytest.mark.parametrize("remember", [True, False])
@pytest.mark.parametrize("make", [of_nothing, of_two])
def test_a_decision_is_a_dated_assignment(admin_client, gateway, make, remember):
    customer = a_customer()
    make(customer)
    gold = customer.subscriptions.get(name="Gold")
    first, last = timezone.now() - timedelta(hours=2), timezone.now() - timedelta(hours=1)
    settled(*(a_call(KEY, occurred_at=at) for at in (first, last)), gateway=gateway)
    (group,) = groups.find_groups()

    typed = {"to": gold.pk} | ({"remember": "on"} if remember else {})
    response = admin_client.post(act(group, "charge"), typed)

    assert "Legacy app” is charged to “Gold” from" in text_of(response)
    assert response.context["found"].calls == 2
    confirm(admin_client, response)
    reattribution.work_through_claims()
    assert not Quarantined.objects.exists()
    assert set(Transaction.objects.values_list("subscription", flat=True)) == {gold.pk}
    # Whatever is called later: only a remembered decision is about it.
    settled(a_call(KEY), gateway=gateway)
    assert Quarantined.objects.exists() is not remember


def test_an_alias_that_is_not_remembered_ends_with_the_last_call(admin_client, gateway):
    customer = a_customer()
    credential = a_credential(customer, subscriptions=[a_subscription(customer)])
    settled(a_call(KEY, ago=timedelta(hours=1)), gateway=gateway)
    (group,) = groups.find_groups()

    post(admin_client, act(group, "attach"), {"credential": credential.pk})
    reattribution.work_through_claims()
    settled(a_call(KEY), gateway=gateway)

    assert Transaction.objects.count() == 1
    assert [each.reason for each in Quarantined.objects.all()] == ["key_not_valid"]
    # It had ended: the same credential is offered once more, for these calls.
    (group,) = groups.find_groups()
    (title,) = remedies_on(page_of(admin_client, group))
    assert title == f"Count this key for “{credential}” at that time, too"


def test_one_call_is_matched_again_and_no_other(admin_client, gateway):
    customer = a_customer()
    of_nothing(customer)
    settled(
        *(a_call(KEY, transaction_id=name, ago=timedelta(hours=1)) for name in ("one", "two")),
        gateway=gateway,
    )
    one = Quarantined.objects.get(transaction_id="one")
    address = reverse("admin:metering_quarantined_match", args=[one.pk])
    kept = admin_client.post(address)
    assert "1 call would stay in quarantine: No subscription fits" in text_of(kept)
    Assignment.objects.create(
        customer=customer,
        credential=customer.credentials.get(),
        subscription=customer.subscriptions.get(),
        active_from=LONG_AGO,
    )

    response = admin_client.post(address)
    assert "1 call would be charged now." in text_of(response)
    assert Transaction.objects.count() == 0
    receipt = confirm(admin_client, response)

    assert [each.transaction_id for each in Transaction.objects.all()] == ["one"]
    assert [each.transaction_id for each in Quarantined.objects.all()] == ["two"]
    shown = text_of(admin_client.get(receipt.url))
    assert "because “admin@example.com” had it matched again" in shown


def test_reviewed_groups_are_listed_with_note_and_can_be_put_back(admin_client, gateway):
    settled(a_call(KEY), gateway=gateway)
    (group,) = groups.find_groups()
    assert act(group, "put-back") not in page_of(admin_client, group).content.decode()
    admin_client.post(act(group, "review"), {"note": "A scanner"})

    listed = admin_client.get(LIST, {"reviewed": "groups"})

    assert "A scanner" in text_of(listed)
    assert act(group, "put-back") in listed.content.decode()
    assert act(group, "review") not in page_of(admin_client, group).content.decode()


def test_a_conflict_shows_both_contents_and_what_differs(admin_client, gateway):
    settled(
        a_call(KEY, transaction_id="one", path="/a", elements={"calls": 1}, status=200),
        a_call(KEY, transaction_id="one", path="/b", elements={"calls": 1, "bytes": 5}),
        gateway=gateway,
    )
    row = Quarantined.objects.get()

    response = admin_client.get(reverse("admin:metering_quarantined_change", args=[row.pk]))

    (conflict,) = response.context["receipts"][0].compared_conflicts
    differing = {
        each.name: (each.stands, each.sent_later) for each in conflict.fields if each.differs
    }
    assert differing.pop("occurred_at")
    assert differing == {
        "path": ("/a", "/b"),
        "status": (200, None),
        "elements.bytes": (None, 5),
    }
    assert [each.differs for each in conflict.fields][-1] is False
    assert text_of(response).count("differs") == 4


def test_ticked_calls_are_reviewed_put_back_and_matched_together(admin_client):
    """The calls under other keys of the same group stay as they are."""
    settled(*(a_call(f"an-unknown-key-{number}") for number in range(3)))
    first, second, other = Quarantined.objects.order_by("hint")
    said = {"ids": f"{first.pk},{second.pk}"}

    def page(slug: str) -> str:
        return reverse(f"admin:metering_quarantined_many-{slug}")

    def reviewed() -> list[bool]:
        rows = Quarantined.objects.order_by("hint")
        return [row.released_at is not None for row in rows]

    done = admin_client.post(page("review"), said | {"note": "A test"})
    assert reviewed() == [True, True, False]
    text = admin_client.get(done.url).content.decode()
    assert "2 transactions marked as reviewed." in text
    assert f'href="{page("put-back")}?ids=' in text
    again = admin_client.post(page("review"), said | {"note": "A test"})
    assert "All of these calls are marked as reviewed." in again.content.decode()
    admin_client.post(page("put-back"), said)
    assert reviewed() == [False, False, False]

    question = admin_client.post(page("match"), {"ids": str(other.pk)})
    assert "1 call would stay in quarantine: No credential has this key." in (
        question.content.decode()
    )
    a_credential(
        customer := a_customer(),
        key="an-unknown-key-2",
        subscriptions=[a_subscription(customer)],
    )
    confirm(admin_client, admin_client.post(page("match"), {"ids": str(other.pk)}))
    assert Transaction.objects.get().pk == other.pk
