import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse

from metering.api.authentication import admit
from metering.models import GatewayToken
from revcred.models import AuditEvent
from tests.factories import a_gateway

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
    assert admit(token).gateway == gateway
    assert not any(token in str(each.get_decoded()) for each in Session.objects.all())
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

    response = admin_client.post(page_of(gateway, "revoke-token"), {"token": kept.pk})

    assert response.url == page_of(gateway, "change")
    assert admit(token) is None
    assert AuditEvent.objects.get().verb == "token_revoked"


def test_a_token_of_another_gateway_is_not_revoked_here(admin_client, gateway):
    kept, _ = GatewayToken.issue(a_gateway(), name="", scopes=[])

    response = admin_client.post(page_of(gateway, "revoke-token"), {"token": kept.pk})

    assert list(response.context["form"].errors) == ["token"]
