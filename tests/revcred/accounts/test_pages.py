"""allauth's pages in our dress, and the pages for when something is wrong."""

import re
from collections import Counter

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.template.loader import render_to_string
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.views.defaults import server_error

from revcred.actions import subscribers
from revcred.models import AuditEvent, FailedSignIns, OutgoingMail, Subscriber
from revcred.runtime.middleware import database_unavailable_response
from tests import factories
from tests.second_factors import an_app

NEW_PASSWORD = "another staple for a horse"


def text_of(answer):
    return " ".join(answer.content.decode().split())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("account_login", "Sign in"),
        ("account_signup", "By invitation only"),
        ("account_reset_password", "Forgot your password?"),
        ("account_reset_password_done", "Check your mail"),
        ("account_reset_password_from_key_done", "Your password is set"),
        ("account_inactive", "This account is deactivated"),
        ("account_email_verification_sent", "Verify"),
    ],
)
def test_pages_for_whoever_has_not_signed_in(client, name, said):
    page = text_of(client.get(reverse(name)))

    assert said in page
    assert "storefront/storefront.css" in page


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("account_change_password", "Change password"),
        ("account_logout", "Do you want to sign out"),
        ("account_reauthenticate", "Confirm that it is you"),
        ("account_email", "Your e-mail address"),
    ],
)
def test_pages_for_whoever_has(sign_in, name, said):
    page = text_of(sign_in(factories.a_user()).get(reverse(name)))

    assert said in page
    assert "storefront/storefront.css" in page


@pytest.mark.django_db
def test_nobody_signs_up(client):
    answer = client.post(
        reverse("account_signup"),
        {"email": "me@example.com", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD},
    )

    assert "By invitation only" in text_of(answer)
    assert not EmailAddress.objects.exists()


@pytest.mark.django_db
def test_signing_in_leads_to_what_was_asked_for(client):
    subscriber = factories.a_subscriber(factories.a_customer())
    asked = client.get(reverse("storefront:credentials"))

    answer = client.post(
        asked["Location"], {"login": subscriber.email, "password": factories.PASSWORD}
    )

    assert answer.status_code == 302
    assert answer["Location"] == reverse("storefront:credentials")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "next_url", ["https://evil.example/", "//evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_nowhere_else(client, next_url):
    subscriber = factories.a_subscriber(factories.a_customer())

    answer = client.post(
        reverse("account_login"),
        {"login": subscriber.email, "password": factories.PASSWORD, "next": next_url},
    )

    assert answer["Location"] == reverse("storefront:home")


@pytest.mark.django_db
def test_guessing_a_password_is_limited(client):
    subscriber = factories.a_subscriber(factories.a_customer())
    for _ in range(5):
        client.post(reverse("account_login"), {"login": subscriber.email, "password": "wrong"})

    answer = client.post(
        reverse("account_login"), {"login": subscriber.email, "password": factories.PASSWORD}
    )

    assert answer.status_code == 429


@pytest.mark.django_db
def test_a_forgotten_password_is_replaced_by_mail(client, sent_mail):
    subscriber = factories.a_subscriber(factories.a_customer())

    client.post(reverse("account_reset_password"), {"email": subscriber.email})
    [sent] = sent_mail()
    choose_password(client, sent)
    answer = client.post(
        reverse("account_login"), {"login": subscriber.email, "password": NEW_PASSWORD}
    )

    assert sent.subject == "Choose a new password"
    assert "revcred at testserver" in sent.body
    assert answer["Location"] == reverse("storefront:home")
    assert [each.subject for each in sent_mail()[1:]] == ["Your password was changed"]


@pytest.mark.django_db
def test_an_address_nobody_has_is_sent_nothing_and_told_nothing(client, sent_mail):
    subscriber = factories.a_subscriber(factories.a_customer())

    known, unknown = (
        client.post(reverse("account_reset_password"), {"email": email})
        for email in (subscriber.email, "nobody@example.com")
    )

    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert [each.to for each in sent_mail()] == [[subscriber.email]]


@pytest.mark.django_db
def test_an_address_nobody_has_takes_the_same_work(client):
    subscriber = factories.a_subscriber(factories.a_customer())

    def work(email):
        with CaptureQueriesContext(connection) as asked:
            client.post(reverse("account_reset_password"), {"email": email})
        said = (query["sql"].split() for query in asked.captured_queries)
        # Which address it is does not matter, nor how it is taken back.
        return Counter(words[0] for words in said if words[0] in ("INSERT", "UPDATE"))

    known, unknown = work(subscriber.email), work("nobody@example.com")

    assert known == unknown
    assert known["INSERT"] >= 2
    assert OutgoingMail.objects.count() == 1


CODE, ENTER_CODE = reverse("account_request_login_code"), reverse("account_confirm_login_code")


def code_in(sent):
    return re.search(r"\b[A-Z]{4}-[A-Z]{4}\b", sent.body)[0]


@pytest.mark.django_db
def test_a_mailed_code_signs_in_once_where_it_was_asked_for(client, sent_mail):
    ada = factories.a_subscriber(factories.a_customer(), email="ada@example.com")
    asked = client.post(CODE, {"email": "Ada@Example.com", "next": "/calls/"})
    code = code_in(sent_mail()[0])
    stranger = type(client)()
    stranger.post(CODE, {"email": "nobody@example.com"})
    stranger.post(ENTER_CODE, {"code": code})
    assert "_auth_user_id" not in stranger.session

    wrong = client.post(asked["Location"], {"code": "BBBB-BBBB"})
    assert "Incorrect code" in text_of(wrong)
    right = client.post(asked["Location"], {"code": code.lower()})

    assert right["Location"] == "/calls/"
    assert client.session["_auth_user_id"] == str(ada.user.pk)
    assert code not in str(list(AuditEvent.objects.values_list("details", flat=True)))
    verbs = AuditEvent.objects.about(ada.user).values_list("verb", flat=True)
    assert set(verbs) == {"code_asked", "sign_in_failed", "signed_in"}
    client.logout()
    client.post(ENTER_CODE, {"code": code})
    assert "_auth_user_id" not in client.session


@pytest.mark.django_db
def test_whom_no_code_is_mailed_gets_the_same_answer_for_the_same_work(client, sent_mail):
    known = factories.a_subscriber(factories.a_customer()).user
    staff = factories.a_user(is_staff=True)
    off = factories.a_subscriber(factories.a_customer()).user
    off.is_active = False
    off.save()

    def ask(email):
        FailedSignIns.objects.all().delete()  # as if a minute had passed
        browser = type(client)()
        with CaptureQueriesContext(connection) as queries:
            answer = browser.post(CODE, {"email": email})
        said = (query["sql"].split()[0] for query in queries.captured_queries)
        writes = Counter(word for word in said if word in ("INSERT", "UPDATE"))
        wrong = browser.post(answer["Location"], {"code": "BBBB-BBBB"})
        shown = re.sub(r'value="[^"]{64}"', "", text_of(wrong))
        return answer.status_code, answer["Location"], writes, wrong.status_code, shown

    answers = [ask(each) for each in (known.email, staff.email, off.email, "nobody@example.com")]

    assert answers[1:] == answers[:1] * 3
    assert [each.to for each in sent_mail()] == [[known.email]]


@pytest.mark.django_db
def test_codes_are_limited_and_ask_for_the_factor_and_can_be_off(client, sent_mail, settings):
    ada = factories.a_subscriber(factories.a_customer()).user
    an_app(ada)
    statuses = [type(client)().post(CODE, {"email": ada.email}).status_code for _ in range(6)]
    assert statuses == [302] * 5 + [429]
    client.post(CODE, {"email": ada.email}, REMOTE_ADDR="203.0.113.9")
    answer = client.post(ENTER_CODE, {"code": code_in(sent_mail()[-1])})
    assert answer["Location"] == reverse("mfa_authenticate")

    settings.ACCOUNT_LOGIN_BY_CODE_ENABLED = False
    other = type(client)()
    assert CODE not in other.get(reverse("account_login")).content.decode()
    assert other.post(CODE, {"email": ada.email}).status_code == 404


def test_an_invitation_leads_to_a_password_and_in(client, db, sent_mail):
    subscriber = Subscriber.objects.create(email="New@Example.com", name="Nell <3")
    request = RequestFactory().get("/")
    subscribers.invite_subscriber(subscriber=subscriber, by=factories.a_user(), request=request)

    [sent] = sent_mail()
    choose_password(client, sent)
    answer = client.post(
        reverse("account_login"), {"login": "new@example.com", "password": NEW_PASSWORD}
    )

    assert sent.subject == "Your API credentials are waiting for you"
    assert "Hello Nell <3," in sent.body
    assert answer["Location"] == reverse("storefront:home")


def test_an_address_is_not_changed_by_its_owner(sign_in):
    user = factories.a_user("ada@example.com")

    sign_in(user).post(reverse("account_email"), {"action_add": "", "email": "other@example.com"})

    assert list(EmailAddress.objects.values_list("email", flat=True)) == ["ada@example.com"]


def test_the_last_pages_ask_neither_the_database_nor_the_session(db, django_assert_num_queries):
    request = RequestFactory().get("/")  # without session and user: asking for either would fail

    with django_assert_num_queries(0):
        broken, away = server_error(request), database_unavailable_response(request)

    assert (broken.status_code, away.status_code) == (500, 503)
    assert "Something went wrong" in text_of(broken)
    assert "Temporarily unavailable" in text_of(away)


def test_too_much_is_said_kindly(rf):
    assert "Too many attempts" in render_to_string("429.html", request=rf.get("/"))


def choose_password(client, sent):
    path = re.search(r"http://testserver(/\S+)", sent.body)[1]
    form = client.get(path, follow=True)
    action = form.request["PATH_INFO"]
    client.post(action, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
