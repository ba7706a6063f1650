"""The administration opens to nobody without a second factor, and no way leads around it."""

import json
from io import StringIO

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.urls import urlpatterns
from django.contrib.auth.models import Permission
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.urls import reverse

from revcred.accounts import second_factor
from revcred.actions import second_factors, users
from revcred.crypto import CannotUnseal
from revcred.models import AuditEvent, FailedSignIns, OutgoingMail
from revcred.runtime import preflight
from tests import factories
from tests.second_factors import (
    App,
    Passkey,
    an_app,
    give_password,
    recovery_codes,
    sign_in_with,
)

pytestmark = pytest.mark.django_db

INDEX = reverse("admin:index")
SET_UP = reverse("mfa_index")
AUTHENTICATE = reverse("mfa_authenticate")
Type = Authenticator.Type


@pytest.fixture(autouse=True)
def _required(settings):
    settings.STAFF_SECOND_FACTOR = "required"


@pytest.fixture
def boss():
    return factories.a_user("boss@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def app(boss):
    return an_app(boss)


def confirm_password(client):
    client.post(reverse("account_reauthenticate"), {"password": factories.PASSWORD})


def events(user):
    said = AuditEvent.objects.about(user).filter(verb__contains="factor") | (
        AuditEvent.objects.about(user).filter(verb__contains="recovery")
    )
    return [(each.verb, each.actor, factories.details_of(each)) for each in said.order_by("pk")]


@pytest.fixture
def told():
    """The subjects of mails that were queued since the test's own preparations."""
    before = OutgoingMail.objects.count()
    return lambda: [each.subject for each in OutgoingMail.objects.order_by("pk")[before:]]


# --- Setting one up -------------------------------------------------------------------------------


def test_without_one_staff_is_led_to_set_one_up(client, boss):
    give_password(client, boss)

    answer = client.get(INDEX)

    assert answer["Location"] == SET_UP
    page = client.get(SET_UP).content.decode()
    assert "Set up an authenticator app or a passkey to open" in page


@pytest.mark.django_db(transaction=True)  # the session is told once it is committed
def test_an_app_is_set_up_and_opens_the_administration(client, boss):
    give_password(client, boss)
    confirm_password(client)
    page = client.get(reverse("mfa_activate_totp"))
    assert 'src="data:image/svg+xml;base64,' in page.content.decode()
    secret = page.context["form"].secret

    wrong = client.post(reverse("mfa_activate_totp"), {"code": "000000"})
    assert "Incorrect code" in wrong.content.decode()
    answer = client.post(reverse("mfa_activate_totp"), {"code": App(secret).code(0)})

    assert answer["Location"] == reverse("mfa_view_recovery_codes")
    codes = client.get(answer["Location"]).content.decode()
    assert all(code in codes for code in recovery_codes(boss))
    assert client.get(INDEX).status_code == 200
    again = client.get(answer["Location"]).content.decode()
    assert not any(code in again for code in recovery_codes(boss))


def test_adding_and_removing_is_on_record_and_told(client, boss, app, told):
    sign_in_with(client, boss, app)
    confirm_password(client)

    client.post(reverse("mfa_generate_recovery_codes"))
    client.post(reverse("mfa_deactivate_totp"))

    assert not Authenticator.objects.exists()
    added = [("factor_added", ""), ("factor_added", "")]  # by the test, who has not signed in
    by_boss = [
        ("factor_removed", boss.email),
        ("factor_added", boss.email),
        ("factor_removed", boss.email),
        ("factor_removed", boss.email),
    ]
    assert [each[:2] for each in events(boss)] == added + by_boss
    assert AuditEvent.objects.filter(verb="factor_removed").first().address == "127.0.0.1"
    assert told() == ["A second factor was added", "A second factor was removed"]
    assert client.get(INDEX)["Location"] == SET_UP


def test_a_change_and_its_record_are_one(client, boss, app, monkeypatch):
    """If it cannot be recorded, it does not happen."""
    sign_in_with(client, boss, app)
    confirm_password(client)

    def fail(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr("revcred.models.audit.AuditEventQuerySet.record", fail)
    for url in ("mfa_deactivate_totp", "mfa_generate_recovery_codes"):
        with pytest.raises(RuntimeError):
            client.post(reverse(url))

    assert {each.type for each in Authenticator.objects.all()} == {"totp", "recovery_codes"}


# --- Signing in -----------------------------------------------------------------------------------


def test_the_password_alone_opens_nothing(client, boss, app):
    answer = give_password(client, boss)

    assert answer["Location"] == AUTHENTICATE
    assert "_auth_user_id" not in client.session
    assert client.get(INDEX)["Location"].startswith(reverse("admin:login"))


def test_a_code_signs_in_once(client, boss, app):
    code = app.code(0)
    give_password(client, boss)
    assert client.post(AUTHENTICATE, {"code": code}).status_code == 302
    assert client.get(INDEX).status_code == 200
    client.logout()
    give_password(client, boss)

    again = client.post(AUTHENTICATE, {"code": code})

    assert "Incorrect code" in again.content.decode()
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_a_clock_may_be_off_by_a_step(client, boss, app, steps):
    give_password(client, boss)
    client.post(AUTHENTICATE, {"code": app.code(steps)})

    assert client.get(INDEX).status_code == 200


@pytest.mark.parametrize("steps", [-3, 3])
def test_a_clock_may_not_be_off_by_more(client, boss, app, steps):
    give_password(client, boss)
    client.post(AUTHENTICATE, {"code": app.code(steps)})

    assert client.get(INDEX).status_code == 302


def test_a_recovery_code_signs_in_once_and_is_told(client, boss, app, told):
    code = recovery_codes(boss)[0]
    give_password(client, boss)

    client.post(AUTHENTICATE, {"code": code})

    assert client.get(INDEX).status_code == 200
    assert ("recovery_code_used", boss.email, {"left": 9}) in events(boss)
    assert told() == ["A recovery code was used"]
    client.logout()
    give_password(client, boss)
    assert "Incorrect code" in client.post(AUTHENTICATE, {"code": code}).content.decode()


def test_wrong_codes_are_limited_on_record_and_told_once(client, boss, app, told):
    give_password(client, boss)
    for _ in range(6):
        answer = client.post(AUTHENTICATE, {"code": "000000"})

    assert answer.status_code == 429
    right = client.post(AUTHENTICATE, {"code": app.code(0)})
    assert (right.status_code, right["Retry-After"]) == (429, "300")
    # One event a minute; the clock records how many more there were.
    recorded = [each[:2] for each in events(boss) if each[0] not in ("factor_added", "signed_in")]
    assert recorded == [("factor_failed", ""), ("factor_limited", "")]
    counted = FailedSignIns.objects.order_by("verb").values_list("verb", "unrecorded")
    assert list(counted) == [("factor_failed", 4), ("factor_limited", 1)]
    assert told() == ["A wrong second factor was entered", "Somebody tries to sign in as you"]


MALFORMED = ["", "null", "{}", "[]", '"x"', "1", '{"id": 1}', '{"id": "AA", "rawId": "AA"}', "{"]
EMPTY = dict.fromkeys(
    ["clientDataJSON", "authenticatorData", "signature", "userHandle", "attestationObject"], "AA"
)
MALFORMED += [json.dumps({"id": "AA", "rawId": "AA", "type": "public-key", "response": EMPTY})]


@pytest.mark.parametrize("credential", MALFORMED)
def test_whatever_comes_as_a_passkey_is_answered_and_on_record(client, boss, app, credential):
    give_password(client, boss)

    answer = client.post(AUTHENTICATE, {"credential": credential})

    assert answer.status_code == 200
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize("credential", MALFORMED)
def test_whatever_comes_as_a_new_passkey_is_answered(client, boss, app, credential):
    sign_in_with(client, boss, app)
    confirm_password(client)
    client.get(reverse("mfa_add_webauthn"))

    answer = client.post(reverse("mfa_add_webauthn"), {"credential": credential, "name": "x"})

    assert answer.status_code == 200
    assert not Authenticator.objects.filter(type=Type.WEBAUTHN).exists()


def test_a_passkey_that_fails_is_on_record(client, boss, app):
    give_password(client, boss)
    client.get(AUTHENTICATE)

    client.post(AUTHENTICATE, {"credential": MALFORMED[-1]})

    assert events(boss)[-1][:2] == ("factor_failed", "")


# --- By a passkey alone ---------------------------------------------------------------------------

PASSKEY_SIGN_IN = reverse("mfa_login_webauthn")


def a_challenge(client):
    answer = client.get(PASSKEY_SIGN_IN, headers={"Accept": "application/json"}, secure=True)
    return answer.json()["request_options"]["publicKey"]["challenge"]


def sign_in_by_passkey(client, answer):
    return client.post(PASSKEY_SIGN_IN, {"credential": answer, "next": INDEX}, secure=True)


def test_a_passkey_alone_is_both_factors(client, boss, app):
    passkey = Passkey(boss)
    answer = passkey.answer(a_challenge(client))

    signed_in = sign_in_by_passkey(client, answer)

    assert signed_in["Location"] == INDEX
    assert client.get(INDEX).status_code == 200
    assert AuditEvent.objects.filter(verb="signed_in", actor=boss.email).count() == 1
    # Neither this browser nor another one signs in with the same answer again.
    for replaying in (client, type(client)()):
        replaying.logout()
        sign_in_by_passkey(replaying, answer)
        a_challenge(replaying)
        sign_in_by_passkey(replaying, answer)
        assert "_auth_user_id" not in replaying.session


def test_a_found_security_key_alone_signs_nobody_in(client, boss):
    """Also not with the challenge that a stranger was given after the password of the own login."""
    passkey, stranger = Passkey(boss), factories.a_user()
    Passkey(stranger)
    client.post(
        reverse("account_login"),
        {"login": stranger.email, "password": factories.PASSWORD},
        secure=True,
    )
    options = client.get(AUTHENTICATE, secure=True).context["js_data"]["request_options"]
    session = client.session
    del session["account_login"]  # as after a quarter of an hour
    session.save()

    answer = passkey.answer(options["publicKey"]["challenge"], verified=False)
    sign_in_by_passkey(client, answer)

    assert "_auth_user_id" not in client.session
    assert AuditEvent.objects.about(boss).filter(verb="sign_in_failed").exists()


def test_a_passkey_of_nobody_or_of_a_login_that_is_off_opens_nothing(client, boss):
    boss.is_active = False
    boss.save()
    for answer in (Passkey(boss).answer(a_challenge(client)), *MALFORMED):
        sign_in_by_passkey(client, answer)
        assert "_auth_user_id" not in client.session


def test_challenges_are_limited_by_address(client, settings):
    settings.SIGN_IN_ATTEMPTS_PER_ADDRESS = 2

    answers = [
        client.get(PASSKEY_SIGN_IN, headers={"Accept": "application/json"}) for _ in range(3)
    ]

    assert [each.status_code for each in answers] == [200, 200, 429]


# --- No way around --------------------------------------------------------------------------------


def test_djangos_own_form_signs_nobody_in(client, boss, app):
    """Neither a stranger nor a colleague who is signed in gets past the factor by its address."""
    form = {"username": boss.email, "password": factories.PASSWORD, "next": INDEX}

    stranger = client.post(reverse("admin:login"), form)
    assert stranger["Location"].startswith(reverse("account_login"))
    assert "_auth_user_id" not in client.session

    colleague = factories.a_user(is_staff=True)
    sign_in_with(client, colleague, an_app(colleague))
    client.post(reverse("admin:login"), form)
    assert client.session["_auth_user_id"] == str(colleague.pk)


def test_a_session_from_before_the_factor_is_asked_for_it(client, boss):
    client.force_login(boss)
    app = an_app(boss)

    asked = client.get(INDEX)

    assert asked["Location"] == f"{reverse('mfa_reauthenticate')}?next=%2Fadmin%2F"
    assert client.get(reverse("mfa_deactivate_totp")).status_code == 302
    confirm_password(client)  # is not enough
    assert client.get(INDEX).status_code == 302
    client.post(asked["Location"], {"code": app.code()})
    assert client.get(INDEX).status_code == 200


@pytest.mark.parametrize(
    "page",
    [
        "mfa_index",
        "mfa_activate_totp",
        "mfa_deactivate_totp",
        "mfa_add_webauthn",
        "mfa_list_webauthn",
        "mfa_generate_recovery_codes",
        "mfa_view_recovery_codes",
        "mfa_download_recovery_codes",
    ],
)
def test_no_page_about_factors_opens_without_the_factor(client, boss, app, page):
    client.force_login(boss)
    confirm_password(client)

    for answer in (client.get(reverse(page)), client.post(reverse(page))):
        assert answer["Location"].startswith(reverse("mfa_reauthenticate"))
    assert Authenticator.objects.count() == 2


def test_all_pages_about_factors_are_named_above():
    def names(patterns):
        for each in patterns:
            yield from names(each.url_patterns) if hasattr(each, "url_patterns") else [each.name]

    [marked] = [
        each
        for each in test_no_page_about_factors_opens_without_the_factor.pytestmark
        if each.name == "parametrize"
    ]
    of_one_passkey = {"mfa_edit_webauthn", "mfa_remove_webauthn"}  # behind its number
    ways_in = {
        "mfa_authenticate",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "mfa_login_webauthn",
    }
    assert set(names(urlpatterns)) == set(marked.args[1]) | of_one_passkey | ways_in


def test_a_new_password_does_not_replace_the_factor(client, boss, app):
    client.post(reverse("account_reset_password"), {"email": boss.email})
    mail = OutgoingMail.objects.latest("pk").unseal()
    path = next(word for word in mail.split() if "/key/" in word)
    form = client.get(path.replace("http://testserver", ""), follow=True)
    new = {"password1": "another staple for a horse", "password2": "another staple for a horse"}
    client.post(form.request["PATH_INFO"], new)

    assert "_auth_user_id" not in client.session
    answer = client.post(
        reverse("account_login"), {"login": boss.email, "password": new["password1"]}
    )
    assert answer["Location"] == AUTHENTICATE


def test_a_token_is_made_only_once_a_factor_exists(client, boss):
    give_password(client, boss)
    said = {"name": "A script", "scopes": ["uploads:check"]}
    url = reverse("admin:revcred_usertoken_add")

    assert client.post(url, said)["Location"] == SET_UP
    assert not boss.tokens.exists()

    app = an_app(boss)
    client.post(reverse("mfa_reauthenticate"), {"code": app.code()})
    client.post(url, said)
    assert boss.tokens.count() == 1


def test_signing_out_is_always_possible(client, boss):
    give_password(client, boss)

    client.post(reverse("admin:logout"))

    assert "_auth_user_id" not in client.session


# --- Who has to -----------------------------------------------------------------------------------


def test_where_it_is_optional_staff_may_do_without(client, boss, settings):
    settings.STAFF_SECOND_FACTOR = "optional"
    give_password(client, boss)

    assert client.get(INDEX).status_code == 200


def test_where_it_is_optional_whoever_has_one_is_asked(client, boss, app, settings):
    settings.STAFF_SECOND_FACTOR = "optional"
    client.force_login(boss)

    assert client.get(INDEX).status_code == 302


def test_subscribers_need_none_and_may_have_one(client):
    subscriber = factories.a_subscriber(factories.a_customer())
    give_password(client, subscriber.user)
    assert client.get(reverse("storefront:home")).status_code == 200

    client.logout()
    app = an_app(subscriber.user)
    assert give_password(client, subscriber.user)["Location"] == AUTHENTICATE
    client.post(AUTHENTICATE, {"code": app.code()})
    assert client.get(reverse("storefront:home")).status_code == 200


@pytest.mark.parametrize("value", ["", "off", "Required"])
def test_a_setting_that_is_neither_stops_the_start_and_is_no_way_around(
    client, boss, settings, value
):
    settings.STAFF_SECOND_FACTOR = value
    give_password(client, boss)

    assert client.get(INDEX)["Location"] == SET_UP
    with pytest.raises(ImproperlyConfigured, match="STAFF_SECOND_FACTOR"):
        preflight.check_configuration()


# --- A lost device --------------------------------------------------------------------------------


@pytest.fixture
def clerk():
    return factories.a_user("clerk@example.com", is_staff=True)


def reset_url(user):
    return reverse("admin:revcred_user_reset-second-factor", args=[user.pk])


def test_a_superuser_resets_that_of_somebody_below(client, boss, app, clerk):
    clerks = type(client)()
    sign_in_with(clerks, clerk, an_app(clerk))
    assert clerks.get(INDEX).status_code == 200
    sign_in_with(client, boss, app)

    asked = client.get(reset_url(clerk))
    answer = client.post(reset_url(clerk), {"reason": "Called back on the known number"})

    assert "Make sure that you are talking to that person" in asked.content.decode()
    assert answer.status_code == 302
    assert not Authenticator.objects.filter(user=clerk).exists()
    assert clerks.get(INDEX)["Location"].startswith(reverse("admin:login"))  # signed out
    assert client.get(INDEX).status_code == 200
    reason = {"reason": "Called back on the known number"}
    assert events(clerk)[-1] == ("factor_reset", boss.email, reason)
    mail = OutgoingMail.objects.get(subject="Your second factor was reset")
    assert mail.recipient == clerk.email
    assert reason["reason"] in mail.unseal()
    give_password(clerks, clerk)
    assert clerks.get(INDEX)["Location"] == SET_UP


def test_nobody_resets_that_of_an_equal_or_one_above(client, boss, app, clerk):
    other = factories.a_user(is_staff=True, is_superuser=True)
    an_app(other)
    sign_in_with(client, boss, app)
    for target in (other, boss):
        assert client.post(reset_url(target), {"reason": "Because"}).status_code == 403
        with pytest.raises(users.LoginRankTooHigh):
            second_factors.reset_second_factor(user=target, by=boss, reason="Because")
    client.logout()
    clerk.user_permissions.set(Permission.objects.all())
    sign_in_with(client, clerk, an_app(clerk))
    lower = factories.a_user(is_staff=True)
    an_app(lower)
    for target in (other, boss, lower, clerk):
        assert client.post(reset_url(target), {"reason": "Because"}).status_code == 403

    assert Authenticator.objects.filter(type=Type.TOTP).count() == 4


def test_a_person_without_one_has_nothing_to_reset(client, boss, app, clerk):
    sign_in_with(client, boss, app)

    answer = client.post(reset_url(clerk), {"reason": "Because"})

    assert "has no second factor" in answer.content.decode()


def test_on_the_server_a_superusers_is_reset(boss, app):
    said = StringIO()
    call_command("reset_second_factor", "Boss@example.com", stdout=said)

    assert "was reset" in said.getvalue()
    assert events(boss)[-1] == ("factor_reset", "", {"reason": "Reset on the server"})
    for email in ("nobody@example.com", boss.email):
        with pytest.raises(CommandError):
            call_command("reset_second_factor", email)


# --- How it is stored -----------------------------------------------------------------------------


def test_what_codes_are_made_from_is_sealed(boss, app):
    for row in Authenticator.objects.all():
        assert app.secret not in str(row.data)
        assert str(row.data.get("secret", row.data.get("seed"))).startswith("gAAAA")


def test_the_ring_is_rotated_with_the_others(boss, settings):
    settings.FERNET_KEYS = ["old"]
    app = an_app(boss)
    codes = recovery_codes(boss)
    settings.FERNET_KEYS = ["new", "old"]

    for row in Authenticator.objects.all():
        second_factor.reseal_authenticator(row)
    settings.FERNET_KEYS = ["new"]

    assert recovery_codes(boss) == codes
    row = Authenticator.objects.get(type=Type.TOTP)
    assert row.wrap().validate_code(app.code(0))
    settings.FERNET_KEYS = ["other"]
    with pytest.raises(CannotUnseal):
        recovery_codes(boss)


def test_nobody_edits_authenticators_in_the_administration(client, boss, app):
    sign_in_with(client, boss, app)

    assert client.get("/admin/mfa/authenticator/").status_code == 404
