from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.api.authentication import find_admission
from metering.models import GatewayToken, IntakeStats, RefusedCall, RefusedCount
from revcred.accounts.sessions import SessionStore
from revcred.models import AuditEvent, Gateway, Session
from tests.confirming import post
from tests.factories import a_credential, a_customer, a_gateway
from tests.metering.verification.test_figures import refuse

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gateway():
    return a_gateway("Edge")


def page_of(gateway, page: str) -> str:
    return reverse(f"admin:revcred_gateway_{page}", args=[gateway.pk])


def test_a_token_is_shown_in_the_answer_and_nowhere_else(admin_client, gateway):
    said = {"name": "Frankfurt", "scopes": ["transactions:post"]}

    response = admin_client.post(page_of(gateway, "issue-token"), said)

    token = response.context["token"]
    assert token in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert find_admission(token).gateway == gateway
    assert not any(token in str(SessionStore().decode(each.data)) for each in Session.objects.all())
    for page in ("change", "history", "issue-token", "revoke-token"):
        assert token not in admin_client.get(page_of(gateway, page)).content.decode()
    event = AuditEvent.objects.get()
    assert event.verb == "token_issued"
    assert token not in str(event.details)


def test_a_token_needs_a_scope(admin_client, gateway):
    response = admin_client.post(page_of(gateway, "issue-token"), {"name": "Frankfurt"})

    assert list(response.context["form"].errors) == ["scopes"]
    assert not GatewayToken.objects.exists()


def test_a_revoked_token_is_refused(admin_client, gateway):
    kept, token = GatewayToken.issue(gateway, name="", scopes=["transactions:post"])

    response = post(admin_client, page_of(gateway, "revoke-token"), {"token": kept.pk})

    assert response.url == page_of(gateway, "change")
    assert find_admission(token) is None
    assert AuditEvent.objects.get().verb == "token_revoked"


def test_a_token_of_another_gateway_is_not_revoked_here(admin_client, gateway):
    kept, _ = GatewayToken.issue(a_gateway(), name="", scopes=[])

    response = post(admin_client, page_of(gateway, "revoke-token"), {"token": kept.pk})

    assert list(response.context["form"].errors) == ["token"]


# --- What it counts -------------------------------------------------------------------------------


def test_its_page_says_what_was_passed_over_and_what_conflicts(admin_client, gateway):
    at = timezone.now()
    for ago, conflicting, passed_over in ((0, 1_200, 3), (5, 34, 4), (8, 500, 500)):
        IntakeStats.objects.create(
            hour=at - timedelta(days=ago),
            gateway=gateway,
            conflicting=conflicting,
            passed_over=passed_over,
        )
    IntakeStats.objects.create(hour=at, gateway=a_gateway(), conflicting=7, passed_over=7)

    page = admin_client.get(page_of(gateway, "change")).content.decode()

    assert "1,234 in the last 7 days" in page
    assert "7 in the last 7 days" in page


ADDED = {
    "name": "New",
    "kind": "envoy",
    "event_subject": "key",
    "check_mode": "off",
    "key_place": "header",
    "key_name": "X-Api-Key",
}


@pytest.mark.parametrize(
    ("chosen", "expected"), [("", True), ("True", True), ("False", False), (None, True)]
)
def test_ids_from_callers_are_asked_when_it_is_added(admin_client, chosen, expected):
    said = ADDED if chosen is None else ADDED | {"ids_from_callers": chosen}
    page = admin_client.get(reverse("admin:revcred_gateway_add")).content.decode()
    admin_client.post(reverse("admin:revcred_gateway_add"), said)

    assert "As usual for its kind" in page
    assert Gateway.objects.get(name="New").ids_from_callers is expected
    assert Gateway.objects.get(name="New").counted_records == []


# --- Refused calls --------------------------------------------------------------------------------


def test_the_search_finds_a_refused_call_by_its_receipt(admin_client, gateway):
    credential = a_credential(a_customer(), name="Backend")
    refuse(gateway, credential, "suspended")
    receipt = RefusedCall.objects.get()

    response = admin_client.post(
        reverse("admin:search"), {"term": f"X-Revcred-Check: {receipt.pk}"}
    )

    assert response.url == f"{page_of(gateway, 'change')}?check={receipt.pk}#refused"
    shown = admin_client.get(response.url).content.decode()
    assert f"Receipt <code>{receipt.pk}</code>" in shown
    assert reverse("admin:revcred_credential_change", args=[credential.pk]) in shown


def test_the_page_of_another_gateway_does_not_show_it(admin_client, gateway):
    refuse(gateway, None, "unknown_key")
    receipt = RefusedCall.objects.get()

    shown = admin_client.get(f"{page_of(a_gateway(), 'change')}?check={receipt.pk}")

    assert f"Receipt <code>{receipt.pk}</code>" not in shown.content.decode()


def test_a_receipt_of_a_deleted_gateway_is_found_nowhere(admin_client, gateway):
    refuse(gateway, None, "unknown_key")
    receipt = RefusedCall.objects.get()
    RefusedCount.objects.all().delete()
    gateway.delete()

    assert admin_client.post(reverse("admin:search"), {"term": f"{receipt.pk}"}).status_code == 200
