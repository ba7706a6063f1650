from datetime import timedelta
from io import StringIO
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from revcred import tokens
from revcred.actions import second_factors, users
from revcred.models import AuditEvent, OutgoingMail, User, UserToken
from revcred.models.tokens import USER_TOKEN_PREFIX
from tests import factories
from tests.confirming import post
from tests.second_factors import an_app, sign_in_with

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/admin/revcred/usertoken/add/"
SAID = {"name": "A script", "scopes": ["uploads:check"]}


def confirm(client, password="password"):
    """The person types the password once more; pytest-django's admin has this one."""
    answer = client.post(reverse("account_reauthenticate"), {"password": password})
    assert answer.status_code == 302


def issued(client):
    """The token, as the one page shows it."""
    response = client.post(ADD, {"name": "A script", "scopes": ["uploads:check"]})
    assert "no-store" in response["Cache-Control"]
    page = response.content.decode()
    return page.partition('shown-once">')[2].partition("<")[0]


def test_a_token_is_issued_for_oneself_and_shown_once(admin_client):
    confirm(admin_client)
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


def test_reloading_the_page_of_a_token_issues_no_second_one(admin_client):
    confirm(admin_client)
    form_id = admin_client.get(ADD).context["form"]["form_id"].value()
    first = admin_client.post(ADD, SAID | {"form_id": form_id})
    assert first.status_code == 200

    again = admin_client.post(ADD, SAID | {"form_id": form_id}, follow=True)

    assert UserToken.objects.count() == 1
    assert "has been issued already" in again.content.decode()
    admin_client.post(ADD, SAID | {"form_id": "another-form"})
    assert UserToken.objects.count() == 2


def test_a_token_is_revoked_for_good(admin_client):
    confirm(admin_client)
    token = issued(admin_client)
    kept = UserToken.objects.get()

    post(admin_client, reverse("admin:revcred_usertoken_revoke", args=[kept.pk]), {})

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
    confirm(client, factories.PASSWORD)
    assert client.get(ADD).status_code == 200


@pytest.mark.parametrize("method", ["get", "post"])
def test_without_a_factor_the_password_is_asked_for_anew(admin_client, method):
    answer = getattr(admin_client, method)(ADD, SAID)

    assert answer.url.startswith(reverse("account_reauthenticate"))
    assert not UserToken.objects.exists()


def test_its_user_is_told_by_mail(admin_client, sent_mail):
    confirm(admin_client)
    token = issued(admin_client)

    [mail] = sent_mail()
    assert (mail.to, mail.subject) == (["admin@example.com"], "A token was issued in your name")
    assert f"rvu_…{token[-4:]}" in mail.body
    assert token not in mail.body


def test_it_may_expire(admin_client):
    confirm(admin_client)
    today = timezone.now().date()
    wrong = admin_client.post(ADD, SAID | {"last_day": today - timedelta(days=1)})
    assert "This day is over" in wrong.content.decode()

    page = admin_client.post(ADD, SAID | {"last_day": today}).content.decode()
    token = page.partition('shown-once">')[2].partition("<")[0]

    kept = UserToken.objects.get()
    assert timedelta() < kept.expires_at - timezone.now() <= timedelta(days=1)
    assert UserToken.objects.valid().of(token).exists()
    UserToken.objects.update(expires_at=timezone.now())
    assert not UserToken.objects.valid().of(token).exists()
    url = reverse("admin:revcred_usertoken_change", args=[kept.pk])
    assert "expired" in admin_client.get(url).content.decode()


def test_it_ends_with_the_password(admin_client, sent_mail):
    confirm(admin_client)
    issued(admin_client)
    new = "another staple for a horse"
    typed = {"oldpassword": "password", "password1": new, "password2": new}
    admin_client.post(reverse("account_change_password"), typed)

    assert not UserToken.objects.filter(revoked_at=None).exists()
    assert "A token of yours was revoked" in {mail.subject for mail in sent_mail()}


# --- A fresh second factor ------------------------------------------------------------------------


@pytest.fixture
def boss():
    return factories.a_user("boss@example.com", is_staff=True, is_superuser=True)


@pytest.mark.parametrize("setting", ["required", "optional"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_the_factor_is_asked_for_anew(boss, client, settings, setting, method):
    """Also of whoever has one without having to."""
    settings.STAFF_SECOND_FACTOR = setting
    app = an_app(boss)
    sign_in_with(client, boss, app)
    assert client.get(ADD).status_code == 200

    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= settings.ACCOUNT_REAUTHENTICATION_TIMEOUT + 1
    session.save()
    answer = getattr(client, method)(ADD, {"name": "A script", "scopes": ["uploads:check"]})

    assert (answer.status_code, urlsplit(answer["Location"]).path) == (
        302,
        reverse("mfa_reauthenticate"),
    )
    assert not UserToken.objects.exists()
    client.post(answer["Location"], {"code": app.code()})
    assert is_well_formed(issued(client))


def is_well_formed(token):
    return tokens.is_well_formed_token(token, USER_TOKEN_PREFIX)


# --- What becomes of tokens when their user's login changes --------------------------------------


def changed(**values):
    def change(user, by, rf):
        request = rf.post("/")
        request.user = by
        users.change_login(user=user, values=values, by=by, request=request)

    return change


def without_group(user, by, rf):
    changed(groups=[])(user, by, rf)


def group_has_less(user, by, rf):
    group = user.groups.get()
    before = users.permission_names(of=group)
    group.permissions.clear()
    users.record_group_change(group=group, before=before, by=by, request=rf.post("/"))


def group_is_deleted(user, by, rf):
    client = Client()
    client.force_login(by)
    url = reverse("admin:auth_group_delete", args=[user.groups.get().pk])
    assert post(client, url, {"post": "yes"}).status_code == 302


def factor_reset(user, by, rf):
    an_app(user)
    second_factors.reset_second_factor(user=user, by=by, reason="Lost")


def factor_reset_by_command(user, by, rf):
    an_app(user)
    call_command("reset_second_factor", user.email, stdout=StringIO())


def superuser_revoked(user, by, rf):
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    call_command("revoke_superuser", user.email, stdout=StringIO())


def password_by_link(user, by, rf):
    client = Client()
    page = client.get(users.password_link(user=user), follow=True)
    url = page.redirect_chain[-1][0]
    said = {"password1": "a-new-password-77", "password2": "a-new-password-77"}
    assert client.post(url, said).status_code == 302
    assert User.objects.get(pk=user.pk).check_password("a-new-password-77")


def password_changed(user, by, rf):
    client = Client()
    client.force_login(user)
    said = {"oldpassword": factories.PASSWORD, "password1": "a-new-password-77"}
    url = reverse("account_change_password")
    client.post(url, said | {"password2": "a-new-password-77"})
    assert User.objects.get(pk=user.pk).check_password("a-new-password-77")


ENDS = {
    "switched off": changed(is_active=False),
    "no staff": changed(is_staff=False),
    "without the group": without_group,
    "the group has less": group_has_less,
    "the group is gone": group_is_deleted,
    "the factor was reset": factor_reset,
    "the factor was reset at the machine": factor_reset_by_command,
    "no superuser": superuser_revoked,
    "password by link": password_by_link,
    "password changed": password_changed,
}
STAYS = {
    "another name": changed(name="Another"),
    "more rights": changed(is_superuser=True),
}


@pytest.fixture
def script():
    """A member of staff with a group that may upload, and a token."""
    user = factories.a_user("script@example.com", is_staff=True)
    group = Group.objects.create(name="Night shift")
    group.permissions.set(Permission.objects.filter(codename__in=["add_upload", "apply_upload"]))
    user.groups.add(group)
    return user, UserToken.issue(user, name="A script", scopes=["uploads:check"])


def rows_about(user):
    events = AuditEvent.objects.about(user).filter(verb="token_revoked")
    mails = OutgoingMail.objects.filter(recipient=user.email, subject__contains="token")
    return events, mails


@pytest.mark.parametrize("how", ENDS)
def test_tokens_end_with_what_they_rest_on(how, script, boss, rf):
    user, (kept, token) = script

    ENDS[how](user, boss, rf)

    kept.refresh_from_db()
    assert kept.revoked_at
    assert not UserToken.objects.valid().of(token).exists()
    events, mails = rows_about(user)
    assert events.get().details["because"]
    assert str(kept) in OutgoingMail.objects.get(pk=mails.get().pk).unseal()
    assert token not in str(events.get().details)


@pytest.mark.parametrize("how", STAYS)
def test_tokens_stay_with_what_says_nothing_against_them(how, script, boss, rf):
    user, (_, token) = script

    STAYS[how](user, boss, rf)

    assert UserToken.objects.valid().of(token).exists()
    assert [*map(len, rows_about(user))] == [0, 0]


def test_a_right_of_another_kind_ends_only_the_tokens_that_need_it(script, boss, rf):
    user, (_, checks) = script
    _, applies = UserToken.issue(user, name="Another", scopes=["uploads:check", "uploads:apply"])

    user.groups.get().permissions.remove(Permission.objects.get(codename="apply_upload"))
    users.record_group_change(
        group=user.groups.get(), before=["revcred.apply_upload"], by=boss, request=rf.post("/")
    )

    assert UserToken.objects.valid().of(checks).exists()
    assert not UserToken.objects.valid().of(applies).exists()
