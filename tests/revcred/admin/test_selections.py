"""Actions on many credentials, subscriptions and subscribers."""

from datetime import timedelta

import pytest
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from revcred.models import AuditEvent, Credential, OutgoingMail, Subscriber, Upload
from revcred.uploads import actions
from revcred.uploads.worker import process_waiting_uploads
from tests.confirming import asked, confirm
from tests.factories import a_call, a_credential, a_customer, a_subscriber, a_subscription, settled

pytestmark = pytest.mark.django_db(transaction=True)

LIST = reverse("admin:revcred_credential_changelist")


@pytest.fixture(autouse=True)
def place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"


def many(slug: str, of: str = "revcred_credential") -> str:
    return reverse(f"admin:{of}_many-{slug}")


def ids(*rows) -> str:
    return ",".join(str(row.pk) for row in rows)


def state_of(credential) -> str:
    now = timezone.now()
    credential = Credential.objects.with_suspended(now).get(pk=credential.pk)
    return credential.state_at(now, suspended=credential.suspended)


def test_ticked_rows_lead_to_the_page_of_the_action(admin_client):
    first, second = a_credential(), a_credential()

    response = admin_client.post(
        LIST, {"action": "suspend", "index": 0, "_selected_action": [first.pk, second.pk]}
    )

    assert response.url == f"{many('suspend')}?ids={first.pk}%2C{second.pk}&matching="
    page = admin_client.get(response.url).content.decode()
    assert "2 credentials are selected." in page


def test_an_action_on_ticked_rows_leads_back_to_the_list_as_it_was_narrowed(admin_client):
    ticked, other = (a_credential(environment="staging", name=name) for name in ("One", "Two"))
    said = {"action": "suspend", "index": 0, "_selected_action": [ticked.pk]}

    page = admin_client.get(admin_client.post(f"{LIST}?environment=staging", said).url)
    form = page.context["form"]
    typed = {name: form.initial.get(name, "") for name in ("ids", "matching")}
    done = confirm(admin_client, admin_client.post(many("suspend"), typed))

    assert done.url == f"{LIST}?environment=staging"
    assert (state_of(ticked), state_of(other)) == ("suspended", "active")


def test_all_that_match_are_found_anew_by_the_filters_of_the_address(admin_client):
    for number in range(3):
        a_credential(environment="staging", name=f"Staging {number}")
    other = a_credential(environment="production")

    response = admin_client.post(
        f"{LIST}?environment=staging",
        {"action": "suspend", "index": 0, "select_across": 1, "_selected_action": [other.pk]},
    )
    assert "3 credentials are selected." in admin_client.get(response.url).content.decode()
    said = {"all": "on", "matching": "environment=staging"}
    confirm(admin_client, admin_client.post(many("suspend"), said))

    assert state_of(other) == "active"
    assert {state_of(each) for each in Credential.objects.filter(environment="staging")} == {
        "suspended"
    }


def test_suspending_shows_names_and_calls_and_can_be_undone(admin_client):
    customer = a_customer("Acme")
    used = a_credential(
        customer, key="a-key-of-some-length", name="Used", subscriptions=[a_subscription(customer)]
    )
    idle, before = a_credential(customer, name="Idle"), a_credential(customer, name="Before")
    settled(a_call("a-key-of-some-length"), a_call("a-key-of-some-length"))
    revoked = a_credential(customer, name="Revoked")
    Credential.objects.filter(pk=revoked.pk).update(
        revoked_at=timezone.now(), revocation_reason="Lost"
    )
    confirm(admin_client, admin_client.post(many("suspend"), {"ids": ids(before)}))

    question = admin_client.post(many("suspend"), {"ids": ids(used, idle, before, revoked)})

    assert asked(question)
    text = question.content.decode()
    assert "calls with 2 credentials are charged to nobody: “" in text
    assert "“Used”" in text
    assert "“Idle”" in text
    assert "2 of the selected rows stay as they are." in text
    assert "They had 2 calls in the last 7 days" in text
    assert state_of(used) == "active"
    done = confirm(admin_client, question)
    assert {state_of(used), state_of(idle)} == {"suspended"}
    assert AuditEvent.objects.about(idle).filter(verb="suspended").count() == 1
    undo = f"{many('resume')}?ids="
    page = admin_client.get(done.url).content.decode()
    assert "2 credentials suspended." in page
    assert f'href="{undo}' in page

    confirm(admin_client, admin_client.post(many("resume"), {"ids": ids(used, idle)}))

    assert {state_of(used), state_of(idle)} == {"active"}
    assert state_of(before) == "suspended"


def test_revoking_asks_for_a_reason_and_first(admin_client):
    first, second = a_credential(), a_credential()

    without = admin_client.post(many("revoke"), {"ids": ids(first, second)})
    assert "This field is required." in without.content.decode()
    question = admin_client.post(
        many("revoke"), {"ids": ids(first, second), "reason": "The contract has ended"}
    )
    assert state_of(first) == "active"
    confirm(admin_client, question)

    assert {state_of(first), state_of(second)} == {"revoked"}
    first.refresh_from_db()
    assert first.revocation_reason == "The contract has ended"


def apply(admin_user) -> Upload:
    process_waiting_uploads()
    upload = Upload.objects.get()
    assert upload.state == Upload.State.READY, upload.error
    assert upload.preview["counts"]["rejected"] == 0, actions.list_row_problems(upload=upload)
    actions.apply_upload(upload=upload, by=admin_user, all_or_nothing=True)
    process_waiting_uploads()
    upload.refresh_from_db()
    return upload


def test_tags_become_a_list_with_its_preview_and_its_undo(admin_client, admin_user):
    customer = a_customer("Acme")
    first = a_credential(customer, name="First", tags=["eu", "old"])
    second = a_credential(customer, name="=Second|x", tags=[])

    response = admin_client.post(
        many("tag"), {"ids": ids(first, second), "add": "partner, eu", "remove": "old"}
    )

    upload = Upload.objects.get()
    assert response.url == reverse("admin:revcred_upload_change", args=[upload.pk])
    assert (upload.by, upload.kind) == (admin_user, "credentials")
    first.refresh_from_db()
    assert first.tags == ["eu", "old"]
    upload = apply(admin_user)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.tags, sorted(second.tags)) == (["eu", "partner"], ["eu", "partner"])
    actions.undo_upload(upload=upload, by=admin_user)
    process_waiting_uploads()
    first.refresh_from_db()
    assert first.tags == ["eu", "old"]


def test_tags_may_have_commas_and_the_last_one_can_go(admin_client, admin_user):
    customer = a_customer("Acme")
    first = a_credential(customer, name="First", tags=["eu, partner", "old"])
    last = a_credential(customer, name="Last", tags=["old"])
    same = a_credential(customer, name="Same", tags=["eu, partner"])

    admin_client.post(many("tag"), {"ids": ids(first, last, same), "remove": "old"})
    upload = apply(admin_user)

    assert upload.total == 2
    for credential, tags in ((first, ["eu, partner"]), (last, []), (same, ["eu, partner"])):
        credential.refresh_from_db()
        assert credential.tags == tags
    actions.undo_upload(upload=upload, by=admin_user)
    process_waiting_uploads()
    last.refresh_from_db()
    assert last.tags == ["old"]


def test_expiry_and_subscription_change_by_lists(admin_client, admin_user):
    customer = a_customer("Acme")
    old, new = a_subscription(customer), a_subscription(customer)
    credential = a_credential(customer, subscriptions=[old])

    admin_client.post(
        many("extend"),
        {"ids": ids(credential), "expires_at": "2100-01-01T12:00"},
    )
    apply(admin_user)
    credential.refresh_from_db()
    assert f"{credential.expires_at:%Y-%m-%d %H:%M}" == "2100-01-01 12:00"

    Upload.objects.all().delete()
    admin_client.post(many("move"), {"ids": ids(credential), "subscription": new.pk})
    apply(admin_user)
    now = timezone.now() + timedelta(seconds=1)
    assert [each.subscription for each in credential.assignments.at(now)] == [new]


def test_the_end_of_subscriptions_changes_by_a_list(admin_client, admin_user):
    first, second = a_subscription(), a_subscription()

    admin_client.post(
        many("extend", "revcred_subscription"),
        {"ids": ids(first, second), "active_until": "2100-01-01T00:00"},
    )
    apply(admin_user)

    for each in (first, second):
        each.refresh_from_db()
        assert each.active_until.year == 2100


def test_invitations_go_to_those_who_do_not_sign_in_yet(admin_client):
    new = Subscriber.objects.create(email="new@example.com")
    known = a_subscriber(email="known@example.com")

    question = admin_client.post(many("invite", "revcred_subscriber"), {"ids": ids(new, known)})
    assert "1 invitation is sent: “new@example.com”." in question.content.decode()
    confirm(admin_client, question)

    assert [each.recipient for each in OutgoingMail.objects.all()] == ["new@example.com"]
    assert not mail.outbox


def test_nothing_selected_and_nothing_to_change_is_told(admin_client):
    revoked = a_credential()
    Credential.objects.filter(pk=revoked.pk).update(
        revoked_at=timezone.now(), revocation_reason="Lost"
    )

    for said, told in (
        ({}, "No row is selected any more."),
        ({"ids": "x,,99999999999999999999,0"}, "No row is selected any more."),
        ({"all": "on", "matching": "nonsense=1"}, "No row is selected any more."),
        ({"ids": ids(revoked)}, "All of these credentials are revoked"),
    ):
        response = admin_client.post(many("suspend"), said)
        assert response.status_code == 200
        assert told in response.content.decode(), said
    nothing = admin_client.post(many("tag"), {"ids": ids(a_credential())})
    assert "Enter a tag to add or to remove." in nothing.content.decode()
