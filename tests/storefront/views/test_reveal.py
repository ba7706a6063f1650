"""A key or secret in clear: after a fresh password, on record, and nowhere else."""

import logging
import time
from datetime import timedelta

import pytest
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from revcred.actions import credentials
from revcred.models import AuditEvent, Membership
from tests import factories
from tests.second_factors import Passkey

KEY, SECRET = "canary-key-that-sings-K9w2", "canary-secret-that-sings-S7x4"
RIGHT, WRONG = {"password": factories.PASSWORD}, {"password": "not it"}


@pytest.fixture
def ada(db):
    return factories.a_subscriber(factories.a_customer(), Membership.Role.MEMBER, "ada@example.com")


@pytest.fixture
def credential(ada):
    return factories.a_credential(ada.customers.get(), key=KEY, secret=SECRET, holders=[ada])


@pytest.fixture
def browser(ada, sign_in):
    return sign_in(ada)


def url_of(credential, name="reveal_key"):
    return reverse(f"storefront:{name}", args=[credential.pk, credential.keys.get().pk])


def reveals():
    events = AuditEvent.objects.reveals().order_by("pk")
    return list(events.values_list("verb", "actor", "address"))


def make_older(browser, seconds):
    """As if the password had been confirmed so much earlier."""
    session = browser.session
    for record in session[AUTHENTICATION_METHODS_SESSION_KEY]:
        record["at"] = time.time() - seconds
    session.save()


def test_looking_at_the_page_reveals_nothing(browser, credential):
    page = browser.get(url_of(credential))

    assert page.status_code == 200
    assert KEY not in page.content.decode()
    assert "Your password" in page.content.decode()
    assert reveals() == []


@pytest.mark.parametrize(
    ("name", "text", "verb"),
    [("reveal_key", KEY, "key_revealed"), ("reveal_secret", SECRET, "secret_revealed")],
)
def test_the_right_password_reveals_and_is_on_record(browser, credential, name, text, verb):
    page = browser.post(url_of(credential, name), RIGHT, REMOTE_ADDR="198.51.100.7")

    assert page.status_code == 200
    assert text in page.content.decode()
    assert reveals() == [(verb, "ada@example.com", "198.51.100.7")]


def test_a_wrong_password_reveals_nothing(browser, credential):
    page = browser.post(url_of(credential), WRONG)

    assert page.status_code == 403
    assert "Incorrect password" in page.content.decode()
    assert KEY not in page.content.decode()
    assert reveals() == []


def test_no_password_at_all_reveals_nothing(browser, credential):
    assert browser.post(url_of(credential)).status_code == 403
    assert reveals() == []


def test_having_just_signed_in_is_not_a_confirmation(client, ada, credential):
    client.post(reverse("account_login"), {"login": ada.email, "password": factories.PASSWORD})

    assert client.post(url_of(credential)).status_code == 403
    assert reveals() == []


def test_a_confirmation_lasts_five_minutes(browser, credential):
    browser.post(url_of(credential), RIGHT)

    make_older(browser, seconds=299)
    assert "data-password hidden" in browser.get(url_of(credential)).content.decode()
    assert browser.post(url_of(credential)).status_code == 200
    make_older(browser, seconds=301)
    assert "data-password hidden" not in browser.get(url_of(credential)).content.decode()
    assert browser.post(url_of(credential)).status_code == 403


def test_a_confirmation_is_the_sessions_own(browser, credential, ada, sign_in):
    browser.post(url_of(credential), RIGHT)

    assert sign_in(ada).post(url_of(credential)).status_code == 403


def test_a_passkey_confirms_in_place_of_the_password(browser, credential, ada):
    passkey = Passkey(ada.user)
    ada.user.set_unusable_password()
    ada.user.save()
    browser.force_login(ada.user)
    asked = browser.get(url_of(credential)).content.decode()
    way = f"{reverse('mfa_reauthenticate_webauthn')}?next="
    assert way in asked
    assert browser.post(url_of(credential)).status_code == 403

    # The factor that opens the session is asked for like any other, and it is fresh.
    page = browser.get(way + url_of(credential), secure=True)
    challenge = page.context["js_data"]["request_options"]["publicKey"]["challenge"]
    back = browser.post(
        reverse("mfa_reauthenticate_webauthn"),
        {"credential": passkey.answer(challenge), "next": url_of(credential)},
        secure=True,
    )

    assert back["Location"] == url_of(credential)
    assert KEY in browser.post(url_of(credential)).content.decode()
    make_older(browser, seconds=301)
    assert browser.post(url_of(credential)).status_code == 403


def test_whoever_has_no_password_is_never_let_through(browser, credential, ada):
    ada.user.set_unusable_password()
    ada.user.save()
    browser.force_login(ada.user)

    asked = browser.get(url_of(credential))
    tried = [browser.post(url_of(credential), data) for data in ({}, RIGHT, {"password": ""})]

    assert "You need a password" in asked.content.decode()
    assert [each.status_code for each in tried] == [403, 403, 403]
    assert reveals() == []


def test_guessing_is_limited(browser, credential):
    statuses = [browser.post(url_of(credential), WRONG).status_code for _ in range(12)]

    assert statuses == [403] * 5 + [429] * 7
    assert browser.post(url_of(credential), RIGHT).status_code == 429


def test_beyond_the_limit_the_page_says_how_long_to_wait(browser, credential, settings):
    settings.REVEAL_LIMIT_KEYS = 0

    answer = browser.post(url_of(credential), RIGHT)

    assert (answer.status_code, answer["Retry-After"]) == (429, "600")
    assert "Wait 10 minutes, then reveal the next one." in answer.content.decode()
    assert reveals() == []


@pytest.mark.parametrize("method", ["get", "post"])
def test_no_cache_and_no_history_keeps_it(browser, credential, method):
    page = getattr(browser, method)(url_of(credential), RIGHT)

    assert (page["Cache-Control"], page["Pragma"]) == ("no-store, private", "no-cache")


def test_a_revoked_credential_keeps_it_to_itself(browser, credential):
    credentials.revoke_credential(credential=credential, reason="Lost.", by=None)

    page = browser.post(url_of(credential), RIGHT)

    assert page.status_code == 409
    assert "is revoked" in page.content.decode()
    assert KEY not in page.content.decode()
    assert reveals() == []


def test_what_was_never_kept_cannot_be_shown(browser, ada):
    without = factories.a_credential(ada.customers.get(), holders=[ada])

    page = browser.post(url_of(without, "reveal_secret"), RIGHT)

    assert page.status_code == 409
    assert "There is no secret to reveal" in page.content.decode()


def test_a_suspended_customer_is_shown_nothing(browser, credential, ada):
    ada.customers.update(suspended_at=timezone.now())

    assert browser.post(url_of(credential), RIGHT).status_code == 409
    assert reveals() == []


def test_what_does_not_open_is_noted_without_its_value(browser, credential, caplog):
    another = factories.a_credential(credential.customer, key="another-key-that-is-sealed")
    columns = "UPDATE revcred_sealedvalue SET value = o.value FROM revcred_sealedvalue o"
    with connection.cursor() as cursor:
        cursor.execute(
            f"{columns} WHERE revcred_sealedvalue.external_key_id = %s AND o.external_key_id = %s",
            [credential.keys.get().pk, another.keys.get().pk],
        )

    with caplog.at_level(logging.ERROR):
        page = browser.post(url_of(credential), RIGHT)

    assert page.status_code == 409
    assert "could not be decrypted" in page.content.decode()
    said = [
        record.getMessage() for record in caplog.records if record.name.startswith("storefront")
    ]
    assert said == [f"The key of key {credential.keys.get().pk} cannot be unsealed"]
    assert "another-key-that-is-sealed" not in caplog.text + page.content.decode()


def test_a_key_that_has_ended_is_not_found(browser, credential):
    url = url_of(credential)
    credential.keys.update(active_until=timezone.now() - timedelta(seconds=1))

    assert browser.get(url).status_code == 404


def test_other_methods_are_refused(browser, credential):
    assert browser.put(url_of(credential)).status_code == 405


def test_the_session_keeps_nothing_of_it(browser, credential):
    browser.post(url_of(credential), RIGHT)

    assert KEY not in repr(dict(browser.session))


def test_no_other_page_shows_it(browser, credential, ada):
    browser.post(url_of(credential), RIGHT)
    browser.post(url_of(credential, "reveal_secret"))
    pages = [
        reverse("storefront:home"),
        reverse("storefront:credentials"),
        reverse("storefront:credential", args=[credential.pk]),
        reverse("storefront:subscriptions"),
        url_of(credential),
        url_of(credential, "reveal_secret"),
        reverse("account_change_password"),
    ]

    for url in pages:
        page = browser.get(url)
        assert page.status_code == 200
        assert KEY not in page.content.decode()
        assert SECRET not in page.content.decode()


def test_holders_and_owners_see_who_looked(browser, credential, ada, sign_in):
    browser.post(url_of(credential), RIGHT)
    owner = factories.a_subscriber(credential.customer, Membership.Role.OWNER)

    page = sign_in(owner).get(reverse("storefront:credential", args=[credential.pk]))

    told = "<strong><bdi>ada@example.com</bdi></strong> <bdi>revealed the key"
    assert told in page.content.decode()


def test_the_pages_say_what_could_be_shown_without_reading_it(browser, credential):
    with CaptureQueriesContext(connection) as asked:
        browser.get(reverse("storefront:credential", args=[credential.pk]))

    about_sealed = [each["sql"] for each in asked if "revcred_sealedvalue" in each["sql"]]
    assert len(about_sealed) == 1
    assert '"revcred_sealedvalue"."value" IS NOT NULL' in about_sealed[0]
    assert '"revcred_sealedvalue"."value",' not in about_sealed[0]


def test_an_address_that_allauth_has_not_heard_of_confirms_too(client, ada, credential):
    """As with users made on the command line."""
    ada.user.emailaddress_set.all().delete()
    client.post(reverse("account_login"), {"login": ada.email, "password": factories.PASSWORD})

    assert client.post(url_of(credential), RIGHT).status_code == 200


def test_a_script_gets_the_text_alone_or_the_reason(browser, credential):
    def ask(data):
        return browser.post(url_of(credential), data, headers={"accept": "application/json"})

    empty, wrong, right = ask({}), ask(WRONG), ask(RIGHT)

    assert [each.status_code for each in (empty, wrong, right)] == [403, 403, 200]
    assert empty.json() == {
        "problem": "Enter your password to confirm that it is you.",
        "password": True,
    }
    assert wrong.json() == {"problem": "Incorrect password.", "password": True}
    assert right.json() == {"text": KEY}
    assert right["Cache-Control"] == "no-store, private"
    credentials.revoke_credential(credential=credential, reason="Over.", by=None)
    assert ask({}).json() == {"problem": "Its keys no longer work, so they cannot be revealed."}
