import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from revcred import tokens
from revcred.models import AuditEvent, User, UserToken
from revcred.models.tokens import USER_TOKEN_PREFIX
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/admin/revcred/usertoken/add/"


def issued(client):
    """The token, as the one page shows it."""
    response = client.post(ADD, {"name": "A script", "scopes": ["uploads:check"]})
    assert "no-store" in response["Cache-Control"]
    page = response.content.decode()
    return page.partition('shown-once">')[2].partition("<")[0]


def test_a_token_is_issued_for_oneself_and_shown_once(admin_client):
    token = issued(admin_client)

    kept = UserToken.objects.get()
    assert tokens.is_well_formed_token(token, USER_TOKEN_PREFIX)
    assert UserToken.objects.valid().of(token).get() == kept
    assert (kept.user.email, kept.scopes) == ("admin@example.com", ["uploads:check"])
    for page in ("changelist", "change", "history"):
        args = [] if page == "changelist" else [kept.pk]
        shown = admin_client.get(reverse(f"admin:revcred_usertoken_{page}", args=args))
        assert token not in shown.content.decode()
    event = AuditEvent.objects.about(kept.user).get()
    assert (event.verb, event.details["token"]) == ("token_issued", f"rvu_…{token[-4:]}")


def test_a_token_is_revoked_for_good(admin_client):
    token = issued(admin_client)
    kept = UserToken.objects.get()

    admin_client.post(reverse("admin:revcred_usertoken_revoke", args=[kept.pk]))

    assert not UserToken.objects.valid().of(token).exists()
    assert AuditEvent.objects.about(kept.user).first().verb == "token_revoked"
    page = admin_client.get(reverse("admin:revcred_usertoken_change", args=[kept.pk]))
    assert "Revoke" not in page.content.decode()


def test_it_takes_a_right(client):
    user = factories.a_user(is_staff=True)
    client.force_login(user)
    assert client.get(ADD).status_code == 403

    user.user_permissions.add(Permission.objects.get(codename="add_usertoken"))
    client.force_login(User.objects.get(pk=user.pk))
    assert client.get(ADD).status_code == 200
